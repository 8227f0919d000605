"""The rule book that tests use, and what is made from it."""

from kling_relay.provider.rulebook_file import load_rulebook
from kling_relay.web.routes import routes
from kling_relay.web.spec import openapi

BOOK = load_rulebook("seed")
ROUTES = routes(BOOK)
OPENAPI = openapi.document(BOOK)
