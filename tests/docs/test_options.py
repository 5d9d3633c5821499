"""docs/options.md says what the programs' command lines say."""

from docs.make_options import NOTES, PAGE, make_page


def test_the_page_is_up_to_date():
    assert PAGE.read_text() == make_page(), "run: python docs/make_options.py"


def test_every_note_is_used():
    page = make_page()
    assert [note for note in NOTES.values() if note not in page] == []
