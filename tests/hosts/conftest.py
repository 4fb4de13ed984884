"""Chromium and its pages as the browser tests have them."""

from e2e.conftest import (  # noqa: F401 - fixtures and a hook
    chromium,
    new_page,
    picture,
    pytest_runtest_makereport,
)
