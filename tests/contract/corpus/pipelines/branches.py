"""If, Elif and Else, over every type, and within loops."""

from kfp import dsl


@dsl.container_component
def say(text: str, said: dsl.OutputPath(str)):
    """Prints a text and gives it."""
    return dsl.ContainerSpec(
        image="alpine",
        command=["sh", "-c", 'echo "$0"; mkdir -p "$(dirname "$1")"; printf %s "$0" > "$1"'],
        args=[text, said],
    )


@dsl.pipeline(name="branches")
def branches(number: int = 7, share: float = 0.5, flag: bool = False, word: str = "a") -> str:
    """Three ways, of which one is taken, and conditions on each type."""
    with dsl.If(number > 10):
        big = say(text="big")
    with dsl.Elif(number > 5):
        medium = say(text="medium")
    with dsl.Else():
        small = say(text="small")
    chosen = say(text=dsl.OneOf(big.outputs["said"], medium.outputs["said"], small.outputs["said"]))
    with dsl.If(share >= 0.5):
        say(text="at least half")
    with dsl.If(flag == True):  # noqa: E712 -- the condition that is compiled
        say(text="flagged")
    with dsl.If(word != "a"):
        with dsl.If(number < 0):
            say(text="never")
    return chosen.outputs["said"]


@dsl.pipeline(name="branches-in-loops")
def branches_in_loops():
    """In each iteration another branch, and OneOf of what it gives."""
    with dsl.ParallelFor([1, 2, 3]) as item:
        with dsl.If(item == 2):
            two = say(text="two")
        with dsl.Else():
            other = say(text="not two")
        say(text=dsl.OneOf(two.outputs["said"], other.outputs["said"]))
