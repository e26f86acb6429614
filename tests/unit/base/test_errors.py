from __future__ import annotations

from weft.base.errors import ERRORS, Invalid, NotFound, WeftError


def test_every_error_has_a_code_of_its_own() -> None:
    assert set(ERRORS.values()) == set(WeftError.__subclasses__()) & set(ERRORS.values())
    assert all(ERRORS[cls.code] is cls for cls in ERRORS.values())
    assert len({cls.code for cls in ERRORS.values()}) == len(ERRORS)


def test_what_a_process_ends_with() -> None:
    assert (Invalid.exit_status, NotFound.exit_status) == (1, 4)
    assert all(400 <= cls.status < 600 for cls in ERRORS.values())
