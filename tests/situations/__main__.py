"""Write the page of all situations."""

from tests.situations.registry import PAGE, render

if __name__ == "__main__":
    PAGE.write_text(render())
