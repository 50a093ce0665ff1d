"""What a world finds wrong."""


class Finding(Exception):
    """A promise or an invariant that did not hold; `name` says which."""

    def __init__(self, name: str, **facts: object) -> None:
        super().__init__(f"{name} {facts}" if facts else name)
        self.name = name


def expect(holds: object, name: str, **facts: object) -> None:
    """Raise a Finding unless something holds."""
    if not holds:
        raise Finding(name, **facts)
