"""A picture of who sends and who reads which events, collected while a program or a test suite runs.

    from haiway_bus.tools.picture import collect

    with collect() as picture:
        asyncio.run(main())
    print(picture.mermaid())

For a whole test suite, do this in a fixture: `@pytest.fixture(scope="session", autouse=True)`.
"""

from haiway_bus.tools._picture.collecting import collect
from haiway_bus.tools._picture.drawing import Picture

__all__ = ("Picture", "collect")
