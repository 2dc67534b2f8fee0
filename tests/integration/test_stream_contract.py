"""One test for each private name of faust-streaming and aiokafka that the engine uses (DESIGN section 5, trap 15).

Both are pinned exactly. When a pin is raised, what fails here says which name has changed; each test's words say what
the engine needs of it.
"""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import aiokafka
import faust
import pytest
from aiokafka.client import CoordinationType
from aiokafka.producer.sender import InitPIDHandler, Sender
from aiokafka.protocol.transaction import InitProducerIdRequest
from faust.agents import Agent
from faust.app.base import App
from faust.tables import TableManager
from faust.transport.conductor import Conductor
from faust.transport.consumer import Consumer, Fetcher
from faust.transport.drivers import aiokafka as driver
from mode.supervisors import OneForOneSupervisor
from mode.utils.queues import ThrowableQueue


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


async def idle_producer() -> aiokafka.AIOKafkaProducer:
    return aiokafka.AIOKafkaProducer(enable_idempotence=True)


# -- aiokafka


async def test_a_producer_has_a_sender_whose_wait_for_a_producer_id_can_be_replaced() -> None:
    producer = await idle_producer()
    assert isinstance(producer._sender, Sender)
    assert inspect.iscoroutinefunction(producer._sender._maybe_wait_for_pid)
    assert "_maybe_wait_for_pid" in inspect.getsource(Sender.start)
    assert "_maybe_wait_for_pid" in inspect.getsource(Sender._sender_routine)
    producer._closed = True


async def test_an_idempotent_producer_keeps_its_id_in_a_transaction_manager_and_begins_no_transaction() -> None:
    producer = await idle_producer()
    assert producer._txn_manager.has_pid() is False
    assert producer._txn_manager.transactional_id is None
    producer._closed = True


def test_a_producer_id_is_asked_for_by_a_handler_whose_request_can_be_replaced() -> None:
    assert "create_request" in vars(InitPIDHandler)
    assert parameters(InitPIDHandler.do) == ["self", "node_id"]
    assert parameters(InitPIDHandler.__init__) == ["self", "sender"]
    request = InitProducerIdRequest(transactional_id="x", transaction_timeout_ms=1)
    assert request is not None


def test_the_coordinator_of_a_transactional_id_is_found_by_the_sender() -> None:
    assert parameters(Sender._find_coordinator) == ["self", "coordinator_type", "coordinator_key"]
    assert CoordinationType.TRANSACTION is not None


async def test_a_sender_ends_when_its_task_is_cancelled_and_the_client_can_be_closed() -> None:
    producer = await idle_producer()
    assert producer._sender._sender_task is None
    assert inspect.iscoroutinefunction(producer.client.close)
    assert "_sender_task" in inspect.getsource(Sender.start)
    producer._closed = True


def test_a_fenced_producer_is_told_so_by_a_produce_response() -> None:
    assert "InvalidProducerEpoch" in inspect.getsource(aiokafka.producer.sender.SendProduceReqHandler.handle_response)


async def test_a_consumer_waits_for_metadata_of_a_topic_it_is_told_to_add() -> None:
    consumer = aiokafka.AIOKafkaConsumer()
    assert callable(consumer._client.add_topic)
    assert callable(consumer._client.force_metadata_update)
    await consumer.stop()


# -- faust


def test_a_transport_names_its_consumer_conductor_and_producer() -> None:
    assert {"Consumer", "Conductor", "Producer"} <= set(dir(driver.Transport))
    assert parameters(driver.Transport.__init__) == ["self", "args", "kwargs"]


def test_the_fetcher_runs_the_consumers_own_loop() -> None:
    assert "_drain_messages" in inspect.getsource(Fetcher)
    assert parameters(Consumer._drain_messages) == ["self", "fetcher"]


def test_a_conductor_finds_the_callback_of_a_partition_in_a_map_and_builds_it_from_channels() -> None:
    assert "_tp_to_callback" in inspect.getsource(Conductor._compile_message_handler)
    assert parameters(Conductor._build_handler) == ["self", "tp", "channels"]
    assert {"_tp_index", "_topics"} <= set(Conductor.__annotations__)


def test_the_conductor_rebuilds_its_callbacks_from_the_index_that_we_keep() -> None:
    assert "_update_callback_map" in inspect.getsource(Conductor._update_indices)
    assert "_tp_index" in inspect.getsource(Conductor._update_callback_map)


def test_a_faust_producer_is_a_service_that_sends_nothing_of_its_own_accord() -> None:
    assert {"on_start", "on_stop", "flush"} <= set(vars(driver.Producer))
    assert "_producer.flush()" in inspect.getsource(App._producer_flush)


async def test_what_waits_for_a_topic_partition_stands_in_the_accumulator_until_it_is_taken_for_sending() -> None:
    producer = await idle_producer()
    accumulator = producer._message_accumulator
    assert accumulator._exception is None
    assert accumulator._closed is False
    accumulator._txn_manager.set_pid_and_epoch(1, 0)
    tp = aiokafka.TopicPartition("t", 0)
    batch = producer.create_batch()
    batch.append(key=None, value=b"v", timestamp=1, headers=[])
    before = batch.size()
    batch.close()
    assert before > 61, "the size counts what frames a record"
    future = await accumulator.add_batch(batch, tp, 1)
    (waiting,) = accumulator._batches.pop(tp)
    waiting.failure(ConnectionError("dropped"))
    assert isinstance(waiting._drain_waiter.exception(), ConnectionError)
    with pytest.raises(ConnectionError):
        await future
    producer._closed = True


def test_an_agent_starts_an_actor_for_a_set_of_partitions_and_replaces_it_by_one_on_the_same_stream() -> None:
    assert parameters(Agent._start_one_supervised) == ["self", "index", "active_partitions", "stream"]
    assert parameters(Agent._replace_actor) == ["self", "service", "index"]
    assert "stream=aref.stream" in inspect.getsource(Agent._replace_actor)
    assert "_on_start_supervisor" in inspect.getsource(Agent.on_start)


def test_an_actor_whose_task_has_ended_by_an_error_crashes_and_wakes_the_supervisor() -> None:
    source = inspect.getsource(Agent._execute_actor)
    assert "aref.crash" in source
    assert "supervisor.wakeup" in source


def test_a_supervisor_keeps_its_services_in_a_list_and_restarts_one_by_a_replacement() -> None:
    source = inspect.getsource(OneForOneSupervisor.__mro__[1])
    assert {"self._services", "self._index", "self.replacement"} <= {
        word for word in ("self._services", "self._index", "self.replacement") if word in source
    }
    assert parameters(OneForOneSupervisor.restart_service) == ["self", "service"]
    assert parameters(OneForOneSupervisor.restart_services) == ["self", "services"]
    assert parameters(OneForOneSupervisor.service_operational) == ["self", "service"]


def test_a_request_of_ours_is_sent_in_the_version_that_it_says_by_a_client_that_knows_the_brokers() -> None:
    from aiokafka.client import AIOKafkaClient
    from aiokafka.protocol.api import Request, RequestStruct

    assert parameters(AIOKafkaClient.send) == ["self", "node_id", "request", "group"]
    assert parameters(AIOKafkaClient.get_random_node) == ["self"]
    assert "_CLASSES" in inspect.getsource(Request.prepare)
    assert "FLEXIBLE_VERSION" in inspect.getsource(RequestStruct.parse_response_header)


async def test_a_queue_can_be_thrown_into_filled_at_once_and_cleared_of_both() -> None:
    app = faust.App("contract", broker="kafka://nowhere")
    queue: ThrowableQueue[int] = app.FlowControlQueue(maxsize=1, clear_on_resume=True)
    queue.force_put_nowait(1)
    queue.force_put_nowait(2)
    queue._throw(ValueError("thrown"))
    queue.clear()
    assert queue.empty()
    waiting = asyncio.ensure_future(queue.get())
    await asyncio.sleep(0)
    queue._throw(ValueError("thrown"))
    assert isinstance((await asyncio.gather(waiting, return_exceptions=True))[0], ValueError)


def test_a_channel_throws_into_its_queue() -> None:
    assert "queue._throw" in inspect.getsource(faust.Channel._throw)


def test_the_app_starts_its_services_after_a_first_assignment_even_an_empty_one() -> None:
    assert "wait_until_recovery_completed" in inspect.getsource(App._wait_for_table_recovery_completed)
    assert parameters(App._on_partitions_assigned) == ["self", "assigned", "generation_id"]
    assert callable(App.on_rebalance_start)


def test_the_table_manager_only_waits_updates_channels_and_starts_recovery_when_it_starts() -> None:
    source = inspect.getsource(TableManager.on_start)
    assert "await self.sleep(1.0)" in source
    assert "await self._update_channels()" in source
    assert "await self.recovery.start()" in source


def test_the_workers_last_task_only_waits() -> None:
    assert "await asyncio.sleep(1.0)" in inspect.getsource(faust.Worker._sentinel_task)


def test_the_worker_stops_on_a_signal_by_a_method_that_can_be_replaced() -> None:
    assert parameters(faust.Worker._stop_on_signal) == ["self", "signal"]
