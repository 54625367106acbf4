"""Bodies as OpenAI defines them, as far as a guard has use for them, and what they ask of it."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gr_vl.data.text import parse_request
from gr_vl.errors import DataError


class _Body(BaseModel):
    # Clients send more than we use: a model's name, a user's. What changes the answer is a field here.
    model_config = ConfigDict(extra="ignore", strict=True)

    @classmethod
    def read(cls, body: bytes) -> Self:
        """The body of a request. Raises DataError when it is no JSON, ValidationError when it is not this JSON."""
        try:
            return cls.model_validate(parse_request(body))
        except ValidationError:  # a ValueError too
            raise
        except ValueError as error:
            raise DataError(f"body: no JSON ({str(error)[:100]}); send one object, in UTF-8") from None


class TextPart(_Body):
    """A part that is text."""

    type: Literal["text"]
    text: str


class ImageUrl(_Body):
    """Where a picture is."""

    url: str


class ImagePart(_Body):
    """A part that is a picture."""

    type: Literal["image_url"]
    image_url: ImageUrl


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class ModerationBody(_Body):
    """`/v1/moderations`: one text, several texts, or one message of parts. The rest is ours."""

    input: str | list[str] | list[Part]
    response: str | None = None
    think: bool = True
    policy: str | None = None

    def messages(self) -> list[list[Part]]:
        """One list of parts for each exchange to judge. Raises DataError when there is none, or two for a response."""
        if isinstance(self.input, str):
            return [[TextPart(type="text", text=self.input)]]
        texts = [item for item in self.input if isinstance(item, str)]
        parts = [item for item in self.input if not isinstance(item, str)]
        found = [[TextPart(type="text", text=text)] for text in texts] if texts else [parts]
        if not self.input:
            raise DataError("input: is empty; send a text, a list of texts, or a list of parts")
        if self.response is not None and len(found) > 1:
            raise DataError(f"response: goes with one input, not with {len(found)}; send one request each")
        return [list(item) for item in found]


class Message(_Body):
    """One turn of a chat."""

    role: Literal["user", "assistant"]
    content: str | list[Part]

    @property
    def parts(self) -> list[Part]:
        """The content as parts."""
        return [TextPart(type="text", text=self.content)] if isinstance(self.content, str) else self.content


Zero = Annotated[float, Field(ge=0, le=0)] | Annotated[int, Field(ge=0, le=0)] | None
"""A number that a client may send as long as it changes nothing."""


class TextFormat(_Body):
    """A format that asks for nothing."""

    type: Literal["text"]


class ChatBody(_Body):
    """`/v1/chat/completions`: the exchange to judge, a user's message and, if there was one, the assistant's."""

    messages: list[Message] = Field(min_length=1, max_length=2)
    stream: Literal[False] | None = None
    n: Literal[1] | None = None
    temperature: Zero = None
    frequency_penalty: Zero = None
    presence_penalty: Zero = None
    logit_bias: Annotated[dict[str, Any], Field(max_length=0)] | None = None
    logprobs: Literal[False] | None = None
    top_logprobs: Literal[0] | None = None
    response_format: TextFormat | None = None
    stop: None = None
    tools: None = None
    functions: None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    think: bool = True
    policy: str | None = None

    def check_length(self, limit: int) -> None:
        """DataError when the caller wants fewer tokens than the server's own limit: its answers are not cut."""
        for name in ("max_tokens", "max_completion_tokens"):
            value = getattr(self, name)
            if value is not None and value < limit:
                raise DataError(f"{name}: {value} is below this server's {limit}, which holds for all; leave it out")

    def exchange(self) -> tuple[list[Part], str | None]:
        """The user's parts and the assistant's text. Raises DataError when the roles are others."""
        roles = [message.role for message in self.messages]
        if roles not in (["user"], ["user", "assistant"]):
            raise DataError(f"messages: roles {', '.join(roles)}; send a user's message, then at most an assistant's")
        if len(self.messages) == 1:
            return self.messages[0].parts, None
        return self.messages[0].parts, text_of(self.messages[1].parts, "messages[1]")


def text_of(parts: list[Part], where: str) -> str:
    """The text of parts that may hold no picture."""
    if any(isinstance(part, ImagePart) for part in parts):
        raise DataError(f"{where}: an assistant sends no pictures; put them into the user's message")
    return joined(parts)


def joined(parts: list[Part]) -> str:
    """The texts among the parts, a line break between two."""
    return "\n".join(part.text for part in parts if isinstance(part, TextPart))


def problem(errors: list[Any]) -> str:
    """The first of pydantic's findings in one line, without what was sent."""
    where = ".".join(str(part) for part in errors[0]["loc"]) or "body"
    return f"{where}: {errors[0]['msg'][:200]}"
