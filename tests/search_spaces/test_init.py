import subprocess
import sys

import pytest

import search_spaces
from search_spaces.space import SearchSpaceError


def test_spaces_are_found_in_the_folder():
    assert "decoder" in search_spaces.spaces()
    assert search_spaces.get_space("decoder").name == "decoder"
    assert {"decoder", "class_decoder"} <= set(search_spaces.spaces())


def test_the_answer_can_be_changed_without_harm():
    search_spaces.spaces().clear()
    assert search_spaces.spaces()


def test_an_unknown_name_lists_those_there_are():
    with pytest.raises(
        SearchSpaceError, match=r"spaces are class_decoder, decoder.*found 'decoders'.*did you mean 'decoder'\?"
    ):
        search_spaces.get_space("decoders")


def test_listing_needs_no_torch():
    """`leangen spaces show` answers at once, also where torch is not installed."""
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from search_spaces import get_space\n"
        "space = get_space('decoder'); space.to_json(); space.validate(space.named['dcgan64'])\n"
        "get_space('class_decoder').to_json()\n"
        "assert 'optuna' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
