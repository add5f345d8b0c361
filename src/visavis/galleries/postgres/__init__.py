"""PostgreSQL store with pgvector."""

import importlib

from visavis.errors import DriverMissing

try:
    importlib.import_module("psycopg")
except ImportError as error:
    raise DriverMissing("a store in PostgreSQL needs its driver: pip install 'visavis[postgres]'") from error
