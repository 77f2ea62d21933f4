"""The known name that a person probably meant: error messages offer it, nothing ever acts on it."""

from collections.abc import Iterable


def nearest(name: str, known: Iterable[str], *, alike: float = 0.6) -> str:
    """The known name most like `name`, or nothing if none is `alike` (0: not at all, 1: the same)."""
    import difflib  # only a mistake needs it

    found = difflib.get_close_matches(name, sorted(set(known)), n=1, cutoff=alike)
    return found[0] if found else ""


def suggestion(name: str, known: Iterable[str]) -> str:
    """The end of an error message: `did you mean 'x'?`, or else a list of what is known."""
    names = sorted({one for one in known if one.strip()})
    if found := nearest(name, names):
        return f"did you mean '{found}'?"
    return f"known are: {', '.join(names)}".rstrip() if names else "none is known"
