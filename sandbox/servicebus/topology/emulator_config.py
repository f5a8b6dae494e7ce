"""Schema of the emulator's configuration file. Unknown names are errors: a misspelt one must not pass."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_pascal


def _positive(value: timedelta) -> timedelta:
    if value < timedelta(milliseconds=1):
        raise ValueError("a duration must be positive")
    return value


Duration = Annotated[timedelta, AfterValidator(_positive)]
Name = Annotated[str, Field(min_length=1, max_length=260, pattern=r"^[A-Za-z0-9$](?:[A-Za-z0-9._/$-]*[A-Za-z0-9])?$")]


class _Entry(BaseModel):
    model_config = ConfigDict(alias_generator=to_pascal, extra="forbid", frozen=True)


class EntityProperties(_Entry):
    """Of queues, topics and subscriptions alike; a topic and a subscription know fewer of them."""

    dead_lettering_on_message_expiration: bool = False
    default_message_time_to_live: Duration | None = None
    duplicate_detection_history_time_window: Duration = timedelta(minutes=10)
    forward_dead_lettered_messages_to: str = ""
    forward_to: str = ""
    lock_duration: Duration = timedelta(minutes=1)
    max_delivery_count: Annotated[int, Field(ge=1)] = 10
    requires_duplicate_detection: bool = False
    requires_session: bool = False


class CorrelationEntry(_Entry):
    """The system properties to compare with, and the user properties."""

    content_type: str | None = None
    correlation_id: str | None = None
    label: str | None = None
    message_id: str | None = None
    reply_to: str | None = None
    reply_to_session_id: str | None = None
    session_id: str | None = None
    to: str | None = None
    properties: dict[str, str | bool | int | float] = {}

    def conditions(self) -> dict[str, str]:
        """What is set, by the AMQP names of the properties."""
        named = {
            "content_type": self.content_type,
            "correlation_id": self.correlation_id,
            "subject": self.label,
            "message_id": self.message_id,
            "reply_to": self.reply_to,
            "reply_to_group_id": self.reply_to_session_id,
            "group_id": self.session_id,
            "to": self.to,
        }
        return {name: value for name, value in named.items() if value is not None}


class SqlEntry(_Entry):
    """A SQL expression."""

    sql_expression: str


class RuleProperties(_Entry):
    """A filter, and an action, which the sandbox does not support."""

    filter_type: Literal["Sql", "Correlation"]
    sql_filter: SqlEntry | None = None
    correlation_filter: CorrelationEntry | None = None
    action: SqlEntry | None = None


class RuleEntry(_Entry):
    """A rule of a subscription."""

    name: Name
    properties: RuleProperties


class SubscriptionEntry(_Entry):
    """A subscription."""

    name: Name
    properties: EntityProperties = EntityProperties()
    rules: tuple[RuleEntry, ...] = ()


class QueueEntry(_Entry):
    """A queue."""

    name: Name
    properties: EntityProperties = EntityProperties()


class TopicEntry(_Entry):
    """A topic."""

    name: Name
    properties: EntityProperties = EntityProperties()
    subscriptions: tuple[SubscriptionEntry, ...] = ()


class NamespaceEntry(_Entry):
    """A namespace. The sandbox has one, which holds the entities of all of them."""

    name: str
    queues: tuple[QueueEntry, ...] = ()
    topics: tuple[TopicEntry, ...] = ()


class UserConfig(_Entry):
    """The namespaces; how the emulator logs is its own affair."""

    namespaces: tuple[NamespaceEntry, ...]
    logging: dict[str, object] = {}


class UserConfigDocument(_Entry):
    """The whole file."""

    user_config: UserConfig
