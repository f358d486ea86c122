"""Parts of pages that programs write."""

import pytest

from nas.errors import NasError
from nas.marked import fill


def test_only_what_stands_between_the_markers_is_replaced():
    page = "head\n<!-- keys: begin -->\nold\n<!-- keys: end -->\ntail\n<!-- more: begin -->\nkept\n<!-- more: end -->\n"
    assert fill(page, "keys", "\nnew\n\n") == page.replace("old", "new")
    assert fill(page, "keys", "") == page.replace("old\n", "")


@pytest.mark.parametrize("page", ["", "<!-- keys: begin -->", "<!-- keys: end --><!-- keys: begin -->"])
def test_both_markers_are_needed_in_order(page):
    with pytest.raises(NasError, match="<!-- keys: begin --> and <!-- keys: end -->"):
        fill(page, "keys", "rows")
