"""Write the page with all layouts."""

from __future__ import annotations

from tests.regions.layouts.page import PAGE, render

if __name__ == "__main__":
    PAGE.write_text(render())
