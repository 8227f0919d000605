"""Money is a bounded Decimal, never a float.

Text from a file, a client or the provider is read by one function that accepts plain decimal numbers only, so that
"NaN", "1e999999" and "-5" never reach an account.
"""

import re
from decimal import Decimal

MAX_AMOUNT = Decimal(10**9)
"""The largest price, charge or limit. A larger figure is a mistake or an attack."""
PLACES = Decimal("0.000001")

_PLAIN = re.compile(r"[0-9]{1,10}(?:\.[0-9]{1,6}0*)?")


def parse_amount(value: object) -> Decimal | None:
    """Return a plain number in [0, MAX_AMOUNT] with up to six places; None for anything else, floats included."""
    if not isinstance(value, str):
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_AMOUNT:
            return None
        value = str(value)
    if len(value) > 40 or not _PLAIN.fullmatch(value := value.strip()):
        return None
    figure = Decimal(value)
    return figure if figure <= MAX_AMOUNT else None


def format_amount(amount: Decimal) -> str:
    """Return the amount without exponent and trailing zeros, with up to six places."""
    text = f"{amount.quantize(PLACES):f}"
    return text.rstrip("0").rstrip(".")
