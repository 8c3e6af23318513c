"""`mark_pages`: several views of one image, each with some of its regions, large enough for the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

from langchain_vipllava.errors import MarkerError
from langchain_vipllava.images.access import Channels
from langchain_vipllava.images.load import load_image
from langchain_vipllava.images.source import ImageSource
from langchain_vipllava.images.view import VIEW_SIZE
from langchain_vipllava.markers.answers_schema import answers_schema
from langchain_vipllava.markers.kinds import COLORS, MarkerKind
from langchain_vipllava.markers.mark import check_inside, check_regions, check_view_size, draw, warn_about
from langchain_vipllava.markers.marked_image import MarkedImage, message_about
from langchain_vipllava.markers.marker import Marker
from langchain_vipllava.markers.question_template import fill_question, named_markers
from langchain_vipllava.markers.zoom import choose_crop, is_readable_together
from langchain_vipllava.regions.region import Region

if TYPE_CHECKING:
    from langchain_core.messages import HumanMessage

_CONTEXT = 0.15
"""Context on each side of a page's regions, in units of their common box. Chosen by looking: a page of several regions
has more around each than a crop around one."""

_MAX_REGIONS = 1000
"""Most regions of all pages. Chosen: grouping 1,000 takes seconds, and hardly anyone asks about more."""

_NEIGHBORS = 8
"""Groups to which a region may move. Chosen: those around one in a grid; it bounds the work."""

MAX_PER_PAGE = len(COLORS)
"""Most regions of a page: one of each color."""


@dataclass(frozen=True, eq=False)
class MarkedPages(Sequence[MarkedImage]):
    """Views of one image, as `mark_pages` returns them; together they have each region once. Immutable.

    Attributes:
        pages: the views.
        order: for each region, in the order in which they were given, the index of its page and of its marker there.
    """

    pages: tuple[MarkedImage, ...]
    order: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        """Freeze lists, as LangGraph's serializer makes them of tuples."""
        object.__setattr__(self, "pages", tuple(self.pages))
        object.__setattr__(self, "order", tuple((page, index) for page, index in self.order))

    @overload
    def __getitem__(self, index: int) -> MarkedImage: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[MarkedImage]: ...
    def __getitem__(self, index: int | slice) -> MarkedImage | Sequence[MarkedImage]:
        """Return a page."""
        return self.pages[index]

    def __len__(self) -> int:
        """Return the number of pages."""
        return len(self.pages)

    def __iter__(self) -> Iterator[MarkedImage]:
        """Iterate over the pages."""
        return iter(self.pages)

    @property
    def markers(self) -> tuple[Marker, ...]:
        """The markers of all pages, in the order of the regions."""
        return tuple(self.pages[page].markers[index] for page, index in self.order)

    @property
    def regions(self) -> tuple[Region, ...]:
        """All regions, in the order in which they were given, in pixels of the original."""
        return tuple(marker.region for marker in self.markers)

    @property
    def phrases(self) -> list[str]:
        """One phrase per region. A phrase names one region of a page, and may return on another page."""
        return [marker.phrase for marker in self.markers]

    def page_of(self, template: str) -> MarkedImage:
        """Return the page that shows what a question names.

        Args:
            template: a question with placeholders, as in `question`. Without any, it is about the first page.

        Raises:
            MarkerError: a placeholder names no region, or the question names regions of several pages.
        """
        named = named_markers(template, self.markers)
        numbers = sorted({self.order[index][0] for index in named})
        if len(numbers) > 1:
            names = ", ".join(self.markers[index].region.id or str(index) for index in named)
            shown = ", ".join(str(number + 1) for number in numbers)
            raise MarkerError(
                f"the question names {names} of pages {shown}, but the model sees one page at a time. Ask about "
                "regions of one page, or mark these regions together with mark."
            )
        return self.pages[numbers[0] if numbers else 0]

    def question(self, template: str) -> str:
        """Fill the placeholders of a question with the phrases of the markers on its page.

        Args:
            template: `{0}`, `{1}` stand for regions by index over all pages, from 0; `{name}` for regions by id.

        Raises:
            MarkerError: a placeholder names no region, or the question names regions of several pages.
        """
        self.page_of(template)
        return fill_question(template, self.markers)

    def message(self, question: str) -> HumanMessage:
        """Make the message that asks a question, with the image of the page that it is about.

        Raises:
            MarkerError: the question is empty, or see `question`.
        """
        return message_about(self.page_of(question), self.question(question))

    def answers_schema(self, answer: Any = None) -> dict[str, Any]:
        """Make a JSON schema with one answer per region of all pages.

        The model answers a page at a time, with `page.answers_schema()`; the merged answers have this schema.

        Args:
            answer: JSON schema of one answer, or its type: a pydantic class, `bool`, `Literal["red", "blue"]`,
                `list[str]`; a string by default.

        Raises:
            MarkerError: two regions share an id.
        """
        schema = answers_schema(self.markers, answer)
        if len(self.pages) > 1:
            for entry, (page, _) in zip(schema["properties"].values(), self.order, strict=True):
                entry["description"] += f" on page {page + 1}"
        return schema


def mark_pages(
    image: ImageSource,
    regions: Region | Iterable[Region],
    *,
    kind: MarkerKind = "rectangle",
    numbers: bool = False,
    per_page: int = MAX_PER_PAGE,
    view_size: int = VIEW_SIZE,
    channels: Channels = "rgb",
) -> MarkedPages:
    """Mark any number of regions on as many views as it takes to show each of them large enough.

    A page shows regions that lie near one another, cropped until the smallest of them has 32 pixels where the model
    looks. One page is enough where few regions are readable in the whole image.

    Args:
        image: anything that `load_image` accepts.
        regions: what to mark, in pixels of the upright image.
        kind: a `MarkerKind`, for all markers.
        numbers: whether to put numbers 1, 2, ... at the regions, counted over all pages.
        per_page: most regions of a page, 1 to 9.
        view_size: see `mark`.
        channels: "bgr" when the image is an array from `cv2.imread`.

    Returns:
        The pages, from the top of the image to its bottom.

    Raises:
        ImageError: the image cannot be read.
        RegionError: a region lies outside the image, or a mask has another size.
        MarkerError: no regions, an unknown kind, or `per_page` outside 1..9.

    Example:
        >>> from PIL import Image
        >>> from langchain_vipllava import Region, mark_pages
        >>> cells = [(20 + 100 * (i % 6), 20 + 100 * (i // 6)) for i in range(24)]
        >>> regions = [Region(box=(x, y, x + 60, y + 60), id=f"r{i}") for i, (x, y) in enumerate(cells)]
        >>> pages = mark_pages(Image.new("RGB", (640, 480)), regions)
        >>> len(pages), pages.question("What is {r17}?")
        (3, 'What is the object within the orange rectangle?')
    """
    to_mark = check_regions(regions, _MAX_REGIONS)
    original = load_image(image, channels=channels)
    if not isinstance(per_page, int) or not 1 <= per_page <= MAX_PER_PAGE:
        raise MarkerError(f"per_page={per_page!r}; expected 1 to {MAX_PER_PAGE}: a page has each color once.")
    check_inside(to_mark, original.size)
    check_view_size(view_size)
    groups = _groups(to_mark, original.size, per_page, view_size)
    pages = tuple(
        draw(
            original,
            [to_mark[index] for index in group],
            kind=kind,
            numbers=[index + 1 for index in group] if numbers else None,
            crop=choose_crop([to_mark[index] for index in group], original.size, _CONTEXT, view_size),
            view_size=view_size,
        )
        for group in groups
    )
    for page in pages:
        warn_about(page.markers, zoomed=True, view_size=view_size)
    places = {index: (number, place) for number, group in enumerate(groups) for place, index in enumerate(group)}
    return MarkedPages(pages, tuple(places[index] for index in range(len(to_mark))))


def _groups(regions: Sequence[Region], size: tuple[int, int], per_page: int, view_size: int) -> list[list[int]]:
    """Group regions by nearness: each group readable together, none larger than `per_page`."""
    left = sorted(range(len(regions)), key=lambda index: (regions[index].center[1], regions[index].center[0]))
    groups: list[list[int]] = []
    while left:
        group = [left.pop(0)]
        seed = regions[group[0]].center
        for index in sorted(left, key=lambda other: _distance(regions[other].center, seed)):
            shown = [regions[k] for k in [*group, index]]
            if len(group) < per_page and is_readable_together(shown, size, _CONTEXT, view_size):
                group.append(index)
        left = [index for index in left if index not in group]
        groups.append(group)
    return _balanced(groups, regions, size, per_page, view_size)


def _balanced(
    groups: list[list[int]], regions: Sequence[Region], size: tuple[int, int], per_page: int, view_size: int
) -> list[list[int]]:
    """Give small groups to those beside them, and even out the rest, so that no region is left alone needlessly."""

    def fits(index: int, group: Sequence[int]) -> bool:
        shown = [regions[k] for k in [*group, index]]
        return len(group) < per_page and is_readable_together(shown, size, _CONTEXT, view_size)

    def by_distance(index: int, others: Iterable[list[int]]) -> list[list[int]]:
        center = regions[index].center
        nearness = [(min(_distance(regions[k].center, center) for k in other), other) for other in others]
        return [other for _, other in sorted(nearness, key=lambda pair: pair[0])[:_NEIGHBORS]]

    for small in sorted(groups, key=len):
        if 2 * len(small) > per_page:
            break
        if small not in groups:  # it took regions of another one
            continue
        rest = [list(group) for group in groups if group != small]
        for index in small:
            taker = next((group for group in by_distance(index, rest) if fits(index, group)), None)
            if taker is None:
                break
            taker.append(index)
        else:
            groups = rest
    for small in sorted(groups, key=len):
        for group in by_distance(small[0], [group for group in groups if len(group) > len(small) + 1]):
            for index in sorted(group, key=lambda k: _distance(regions[k].center, regions[small[0]].center)):
                if len(group) > len(small) + 1 and fits(index, small):
                    group.remove(index)
                    small.append(index)
    in_order = [sorted(group) for group in groups]
    return sorted(in_order, key=lambda group: min((regions[k].center[1], regions[k].center[0]) for k in group))


def _distance(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Distance of centers; rows count twice, so that a page follows them."""
    return abs(a[0] - b[0]) + 2 * abs(a[1] - b[1])
