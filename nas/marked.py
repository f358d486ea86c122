"""Parts of a hand-written page that a program writes: what stands between two markers is replaced, nothing else."""

from nas.errors import NasError


def markers(part: str) -> tuple[str, str]:
    """Return the lines before and after the part of a page called ``part``; Markdown does not show them."""
    return f"<!-- {part}: begin -->", f"<!-- {part}: end -->"


def fill(page: str, part: str, content: str) -> str:
    """Return ``page`` with ``content`` as its part ``part``.

    Args:
        page: Markdown with both markers, once each and in order.
        part: Its name in the markers.
        content: Markdown; empty leaves the part empty.

    Raises:
        NasError: a marker is missing.
    """
    begin, end = markers(part)
    before, found, rest = page.partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise NasError(f"the page needs the lines {begin} and {end}, in this order: put them back")
    inner = f"\n{content.strip()}\n" if content.strip() else "\n"
    return f"{before}{begin}{inner}{end}{after}"
