"""The page of situations is what these tests say."""

from tests.situations.registry import PAGE, all_rows, render


def test_the_page_lists_every_situation():
    assert PAGE.read_text() == render(), "run `make situations`"


def test_there_are_enough():
    assert sum(map(len, all_rows().values())) >= 80
