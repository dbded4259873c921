"""A project's own fixtures may have the names of ours; the plugin leaves them alone."""

from __future__ import annotations


def test_fixtures_of_the_same_name_are_not_parametrised(pytester):
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        def node():
            return "mine"

        @pytest.fixture(params=["a", "b"])
        def vm(request):
            return request.param

        def test_it(node, vm):
            assert node == "mine"
            assert vm in "ab"
        """
    )
    pytester.runpytest("-q", "-p", "no:cacheprovider").assert_outcomes(passed=2)
