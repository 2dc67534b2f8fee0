"""The stack that a whole test session shares."""

from __future__ import annotations

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

pytestmark = pytest.mark.integration


def test_the_shared_broker_takes_topics_of_this_tests_cluster(stack, cluster_name):
    admin = AdminClient({"bootstrap.servers": stack.kafka})
    name = f"{cluster_name}.events"

    admin.create_topics([NewTopic(name, 2, 1)])[name].result(timeout=15)

    assert len(admin.list_topics(timeout=10).topics[name].partitions) == 2


def test_a_topic_is_not_made_by_naming_it(stack, cluster_name):
    admin = AdminClient({"bootstrap.servers": stack.kafka})

    found = admin.list_topics(f"{cluster_name}.never-made", timeout=10)

    assert found.topics[f"{cluster_name}.never-made"].error is not None


def test_restarting_the_shared_broker_is_refused(stack):
    with pytest.raises(AssertionError, match="own_stack"):
        stack.restart_kafka()
