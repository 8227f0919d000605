"""Money is Decimal, never float, and bounded: what comes as text from a file, a client or the provider is read by
one reader that takes plain figures alone, so that "NaN", "1e999999" or "-5" never reach an account.
"""

import re
from decimal import Decimal

MAX_AMOUNT = Decimal(10**9)
"""No single price, charge or limit is larger; a figure beyond it is a mistake or an attack."""
PLACES = Decimal("0.000001")

_PLAIN = re.compile(r"[0-9]{1,10}(?:\.[0-9]{1,6}0*)?")


def money(written: object) -> Decimal | None:
    """Return a plain figure in [0, MAX] with up to six places, or None for everything else, floats included."""
    if not isinstance(written, str):
        if not isinstance(written, int) or isinstance(written, bool) or not 0 <= written <= MAX_AMOUNT:
            return None
        written = str(written)
    if len(written) > 40 or not _PLAIN.fullmatch(written := written.strip()):
        return None
    figure = Decimal(written)
    return figure if figure <= MAX_AMOUNT else None


def plain(amount: Decimal) -> str:
    """Return the amount as people write it: no exponent, no trailing zeros, up to six places."""
    text = f"{amount.quantize(PLACES):f}"
    return text.rstrip("0").rstrip(".")
