"""What an executor keeps of what it says, and what of it a session begins with."""

import unittest

from proffer import v1
from proffer.limits import EXECUTOR_STATUSES_MAX, MESSAGE_LEN_MAX
from proffer.said import Said

RUNNING, FINISHED, KILLED = v1.TASK_STATE_RUNNING, v1.TASK_STATE_FINISHED, v1.TASK_STATE_KILLED
# What the agent takes in a list.
ITEMS_MAX = 10_000


def running(*names):
    said = Said()
    said.launched((name, 7) for name in names)
    return said


def say(said, name, state, data=b""):
    said.say(said.launch_of(name), v1.ExecutorStatus(state=state, data=data))


def untold(said):
    return [call.update for call in iter(said.next_untold, None)]


def keys(statuses):
    return [(status.task_id, status.number) for status in statuses]


class Killed(unittest.TestCase):
    def test_what_is_killed_is_the_launch_that_is_to_end(self):
        said = running("t")
        said.launched([("t", 8), ("t", 9)])
        for incarnation in (9, 8):
            self.assertTrue(said.is_to_end(("t", incarnation)))
        self.assertEqual(said.launch_of("t", RUNNING), ("t", 7))
        for incarnation in (8, 9):
            launch = said.launch_of("t", KILLED)
            self.assertEqual(launch, ("t", incarnation))
            said.say(launch, v1.ExecutorStatus(state=KILLED))
        self.assertFalse(said.is_to_end(("t", 8)), "it has ended, and another one runs")
        self.assertTrue(said.is_to_end(("t", 0)), "an agent that does not say which")
        self.assertEqual(said.launch_of("t", KILLED), ("t", 7))
        said.say(("t", 7), v1.ExecutorStatus(state=FINISHED))
        self.assertTrue(said.is_to_end(("t", 7)), "nothing of the name runs")


class Kept(unittest.TestCase):
    def test_what_is_said_is_kept_in_order_until_it_is_acknowledged(self):
        said = running("t")
        say(said, "t", RUNNING)
        self.assertEqual(keys(untold(said)), [("t", 1)])
        said.launched([("t", 7)])
        say(said, "t", FINISHED)
        self.assertIsNone(said.launch_of("t"))
        said.acknowledged(("t", 7), 1)
        self.assertEqual(keys(untold(said)), [("t", 2)], "once, and it counts on")
        subscribe = said.subscribe().subscribe
        self.assertEqual((keys(subscribe.unacknowledged), len(subscribe.tasks)), ([("t", 2)], 0))
        self.assertFalse(said.is_heard())
        said.acknowledged(("t", 7), 2)
        self.assertTrue(said.is_heard())

    def test_of_what_says_more_of_the_same_state_the_newest_is_kept_while_many_wait(self):
        said = running("t", "u")
        for name in ("t", "u"):
            say(said, name, v1.TASK_STATE_STARTING)
        for i in range(1, EXECUTOR_STATUSES_MAX + 4):
            say(said, "t", RUNNING, bytes([i]))
        # It leads backwards.
        say(said, "t", v1.TASK_STATE_STARTING)
        told = untold(said)
        self.assertEqual(keys(told)[:3], [("t", 1), ("u", 1), ("t", 2)])
        self.assertEqual(len(told), EXECUTOR_STATUSES_MAX + 1)
        self.assertEqual((told[-1].data, told[-1].number), (bytes([EXECUTOR_STATUSES_MAX + 3]), EXECUTOR_STATUSES_MAX + 4))
        # Also of what was told already: the newer one is told besides, and both are acknowledged with it.
        say(said, "t", RUNNING)
        self.assertEqual(keys(untold(said)), [("t", EXECUTOR_STATUSES_MAX + 5)])
        say(said, "t", v1.TASK_STATE_KILLING)
        say(said, "t", v1.TASK_STATE_KILLED)
        self.assertEqual([status.state for status in untold(said)], [v1.TASK_STATE_KILLING, v1.TASK_STATE_KILLED])
        said.acknowledged(("t", 7), EXECUTOR_STATUSES_MAX + 7)
        self.assertEqual(keys(said.subscribe().subscribe.unacknowledged), [("u", 1)])

    def test_what_says_nothing_of_health_takes_the_place_of_what_does_and_says_it_too(self):
        said = running("t")
        for _ in range(EXECUTOR_STATUSES_MAX):
            say(said, "t", RUNNING)
        for healthy in (False, None, None):
            said.say(said.launch_of("t"), v1.ExecutorStatus(state=RUNNING, healthy=healthy))
        last = untold(said)[-1]
        self.assertEqual((last.HasField("healthy"), last.healthy), (True, False))

    def test_ten_thousand_and_one_statuses_of_a_task_leave_few(self):
        said = running("t")
        for _ in range(ITEMS_MAX + 1):
            say(said, "t", RUNNING)
        kept = said.subscribe().subscribe.unacknowledged
        self.assertEqual((len(kept), kept[-1].number), (EXECUTOR_STATUSES_MAX, ITEMS_MAX + 1))
        self.assertEqual(untold(said), [])


class Subscriptions(unittest.TestCase):
    def check_all_is_told(self, said, count):
        """It is told all, however much there is: what does not fit follows, in its order."""
        call = said.subscribe()
        begun, named = call.subscribe.unacknowledged, call.subscribe.tasks
        self.assertLess(call.ByteSize(), MESSAGE_LEN_MAX * 3 // 4)
        self.assertLessEqual(len(named), ITEMS_MAX)
        self.assertIn(len(begun), range(1, count))
        told = [*begun, *untold(said)]
        self.assertEqual(len(told), count)
        # The agent takes a task that is not named for lost.
        named = {(task.task_id, task.incarnation) for task in named}
        self.assertLessEqual({(status.task_id, status.incarnation) for status in told[len(begun) :]}, named)
        last = {}
        for status in told:
            self.assertEqual(status.number, last.get(status.task_id, 0) + 1)
            last[status.task_id] = status.number
        for status in told:
            said.acknowledged((status.task_id, status.incarnation), status.number)
        self.assertTrue(said.is_heard())

    def test_more_statuses_than_a_subscription_takes_follow_it(self):
        names = [f"t{i}" for i in range(5_001)]
        said = running(*names)
        for state in (RUNNING, FINISHED):
            for name in names:
                say(said, name, state)
        self.check_all_is_told(said, 10_002)

    def test_more_bytes_than_a_subscription_takes_follow_it(self):
        names = [f"t{i}" for i in range(200)]
        said = running(*names)
        for name in names:
            say(said, name, FINISHED, b"x" * 64 * 1024)
        self.check_all_is_told(said, 200)
