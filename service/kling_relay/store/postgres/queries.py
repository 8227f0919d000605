"""Named SQL: a `.sql` file beside the module that runs it, read once when that module is imported.

A statement begins with a line `-- name: some_name` and one line of comment, and ends with a semicolon. Its arguments
are named (`:task`); its name is sent along, so that `pg_stat_activity` and `pg_stat_statements` show it.
"""

import re
from importlib.resources import files

_HEADER = re.compile(r"^-- name: (.*)$", re.MULTILINE)
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_FRAGMENT = re.compile(r"\{([a-z_]+)\}")
_TOKEN = re.compile(
    r"""
      \b[eE]'(?:[^'\\]|\\.|'')*'      # a literal with escapes
    | '(?:[^']|'')*'                  # a literal
    | "(?:[^"]|"")*"                  # a quoted identifier
    | (?P<tag>\$\w*\$).*?(?P=tag)     # a dollar-quoted literal
    | --[^\n]*
    | /\*.*?\*/
    | ::                              # a cast
    | :(?P<argument>[a-z_]\w*)
    """,
    re.VERBOSE | re.DOTALL,
)


def load_sql(module: str, **fragments: str) -> dict[str, str]:
    """Return the statements of the file beside `module` (its `__name__`), by name.

    `fragments` replace `{fragment}` in the text: SQL that several files share. Raises ValueError if the file is
    malformed, KeyError if a fragment is missing.
    """
    package, _, name = module.rpartition(".")
    return split(files(package).joinpath(f"{name}.sql").read_text("utf-8"), **fragments)


def split(text: str, **fragments: str) -> dict[str, str]:
    """Return the statements of a file's text, by name; see `load_sql`."""
    before, *parts = _HEADER.split(text)
    if before.strip():
        raise ValueError(f"text before the first statement: {before.strip()[:60]!r}")
    statements: dict[str, str] = {}
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        if not _NAME.fullmatch(name):
            raise ValueError(f"not a name of a statement: {name!r}")
        if name in statements:
            raise ValueError(f"two statements are called {name}")
        _, comment, sql = f"{body}\n\n".split("\n", 2)
        if not comment.startswith("-- "):
            raise ValueError(f"{name}: a line of comment must follow the name")
        if not sql.rstrip().endswith(";"):
            raise ValueError(f"{name}: the semicolon is missing")
        filled = _FRAGMENT.sub(lambda fragment: fragments[fragment[1]], sql.strip().removesuffix(";"))
        statements[name] = f"-- name: {name}\n{filled}"
    return statements


def numbered(text: str) -> tuple[str, list[str]]:
    """Return a statement with $1, $2, … for its named arguments, and their names in that order."""
    names: dict[str, int] = {}

    def number(token: re.Match[str]) -> str:
        name = token["argument"]
        return token[0] if name is None else f"${names.setdefault(name, len(names) + 1)}"

    return _TOKEN.sub(number, text), list(names)
