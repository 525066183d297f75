import neural
from neural.network import Network

def test_x():
    assert neural.__file__
