"""Pydantic AI: an agent that calls a tool and answers in a form of its own."""

from openai import OpenAI
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel

served = OpenAI().models.list().data[0].id  # OPENAI_BASE_URL and OPENAI_API_KEY say where


class Stock(BaseModel):
    """What the agent must find out."""

    article: str
    pieces: int


agent = Agent(
    OpenAIChatModel(served),
    output_type=Stock,
    instructions="Look the stock up with the tool, then report it.",
)


@agent.tool_plain
def pieces_of(article: str) -> int:
    """How many pieces of an article there are."""
    print(f"-> pieces_of({article!r})")
    return 42


print(repr(agent.run_sync("How many pieces of the article 'lamp' are there?").output))
