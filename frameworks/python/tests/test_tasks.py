"""What a status is worth, and when a task may be launched again."""

import random
import unittest

from proffer import limits, v1
from proffer.parts import is_terminal
from proffer.tasks import Tasks, Worth

STAGING, STARTING, RUNNING = v1.TASK_STATE_STAGING, v1.TASK_STATE_STARTING, v1.TASK_STATE_RUNNING
KILLING, UNREACHABLE = v1.TASK_STATE_KILLING, v1.TASK_STATE_UNREACHABLE
FINISHED, FAILED, LOST = v1.TASK_STATE_FINISHED, v1.TASK_STATE_FAILED, v1.TASK_STATE_LOST
NEWS, STALE, AGAIN, REVENANT = Worth.NEWS, Worth.STALE, Worth.AGAIN, Worth.REVENANT


def status(incarnation, number, state, task="t"):
    return v1.Status(task_id=task, incarnation=incarnation, number=number, state=state)


class Told(unittest.TestCase):
    def test_what_comes_again_is_not_told_unless_it_is_the_newest(self):
        for story in [
            [(1, 1, STARTING, NEWS), (1, 2, RUNNING, NEWS), (1, 1, STARTING, STALE), (1, 2, RUNNING, NEWS)],
            [(1, 5, RUNNING, NEWS), (1, 0, UNREACHABLE, NEWS), (1, 4, RUNNING, STALE), (1, 5, RUNNING, NEWS)],
            [(1, 5, RUNNING, NEWS), (1, 0, RUNNING, NEWS), (1, 0, STARTING, STALE), (1, 6, KILLING, NEWS)],
            [(1, 3, FAILED, NEWS), (1, 2, RUNNING, STALE), (1, 3, FAILED, NEWS), (1, 0, RUNNING, REVENANT)],
            [(1, 2, RUNNING, NEWS), (1, 0, LOST, NEWS), (1, 3, RUNNING, REVENANT), (2, 1, RUNNING, NEWS)],
            [(2, 1, STARTING, NEWS), (1, 9, RUNNING, STALE), (1, 9, FAILED, STALE)],
            [(1, 3, FAILED, NEWS), (0, 0, UNREACHABLE, STALE), (0, 0, LOST, NEWS), (1, 0, RUNNING, REVENANT)],
            [(0, 0, LOST, NEWS), (1, 1, STARTING, NEWS)],
            [(0, 0, UNREACHABLE, NEWS), (0, 0, UNREACHABLE, STALE), (1, 1, RUNNING, NEWS)],
            # It is there, so this answers an earlier question.
            [(1, 2, RUNNING, NEWS), (0, 0, LOST, STALE)],
        ]:
            tasks = Tasks(has_history=False)
            for incarnation, number, state, worth in story:
                self.assertEqual(tasks.weigh(status(incarnation, number, state)), worth, story)

    def test_nobody_sees_a_task_go_backwards(self):
        states = [STAGING, STARTING, RUNNING, KILLING, UNREACHABLE, FINISHED, FAILED, LOST]
        for seed in range(500):
            chance, tasks, seen = random.Random(seed), Tasks(has_history=False), None
            for _ in range(40):
                new = status(chance.randint(1, 3), chance.randint(0, 6), chance.choice(states))
                if chance.random() < 0.1:
                    tasks.session_ended()
                if tasks.weigh(new) is not NEWS:
                    continue
                if seen and seen.incarnation >= new.incarnation:
                    self.assertEqual(seen.incarnation, new.incarnation, seed)
                    may = seen.state == UNREACHABLE or new.state >= seen.state
                    self.assertTrue(may or (is_terminal(seen.state) and is_terminal(new.state)), seed)
                seen = new

    def test_ended_tasks_are_forgotten_after_many_others(self):
        tasks = Tasks(has_history=False)
        for number in range(limits.ENDED_REMEMBERED_MAX + 1):
            self.assertIs(tasks.weigh(status(1, 1, FAILED, f"t{number}")), NEWS)
        self.assertIs(tasks.weigh(status(1, 0, RUNNING, "t1")), REVENANT)
        self.assertIs(tasks.weigh(status(1, 0, RUNNING, "t0")), NEWS)


class Launching(unittest.TestCase):
    def setUp(self):
        self.tasks = Tasks(has_history=False)

    def weigh(self, *given):
        return self.tasks.weigh(status(*given))

    def test_a_launch_of_unknown_fate_is_not_repeated_before_the_master_has_answered(self):
        self.tasks.launching(["t"])
        self.assertFalse(self.tasks.may_launch("t"))
        self.tasks.session_ended()
        self.assertEqual(self.tasks.open(), ["t"])
        self.assertEqual(self.tasks.settle(["t", "u"]), {"u"})
        self.assertIs(self.weigh(0, 0, UNREACHABLE), NEWS)
        self.assertIs(self.weigh(0, 0, UNREACHABLE), STALE)
        self.assertFalse(self.tasks.may_launch("t"), "an unreachable agent may run it")
        self.assertIs(self.weigh(0, 0, LOST), NEWS)
        self.assertTrue(self.tasks.may_launch("t"))
        self.assertEqual(self.tasks.open(), [])

    def test_a_task_that_ran_all_the_time_is_not_launched_again(self):
        self.tasks.launching(["t"])
        self.tasks.launched("t", 7)
        self.tasks.session_ended()
        self.assertIs(self.weigh(7, 2, RUNNING), NEWS)
        self.assertEqual(self.tasks.open(), [])
        self.assertFalse(self.tasks.may_launch("t"))
        self.assertIs(self.weigh(7, 3, FINISHED), NEWS)
        self.assertTrue(self.tasks.may_launch("t"))

    def test_the_end_of_the_last_launch_does_not_end_the_next(self):
        self.weigh(1, 3, FAILED)
        self.tasks.launching(["t"])
        self.assertIs(self.weigh(1, 3, FAILED), STALE, "while it is under way")
        self.tasks.session_ended()
        self.assertIs(self.weigh(1, 3, FAILED), STALE, "while its fate is open")
        self.assertFalse(self.tasks.may_launch("t"))
        self.assertIs(self.weigh(2, 1, RUNNING), NEWS)
        self.assertIs(self.weigh(1, 3, FAILED), STALE, "while it runs")
        self.assertFalse(self.tasks.may_launch("t"))

    def test_a_late_answer_does_not_end_what_was_launched_since(self):
        self.tasks.launching(["t"])
        self.tasks.session_ended()
        self.weigh(0, 0, LOST)
        self.tasks.launching(["t"])
        self.assertIs(self.weigh(0, 0, LOST), STALE)
        self.tasks.launched("t", 9)
        self.assertIs(self.weigh(0, 0, LOST), STALE)
        self.assertFalse(self.tasks.may_launch("t"))

    def test_an_end_that_its_author_did_not_keep_frees_nothing(self):
        self.assertIs(self.weigh(1, 3, FAILED), NEWS)
        self.tasks.not_kept("t")
        self.tasks.session_begun(is_resumed=True)
        self.assertEqual(self.tasks.settle(["t"]), set())
        self.assertEqual(self.tasks.open(), ["t"])
        self.assertIs(self.weigh(1, 3, FAILED), NEWS)
        self.assertEqual(self.tasks.settle(["t"]), {"t"})

    def test_a_refused_launch_may_be_repeated(self):
        self.tasks.launching(["t"])
        self.tasks.refused("t")
        self.assertTrue(self.tasks.may_launch("t"))

    def test_after_a_restart_ids_are_settled_first(self):
        tasks = Tasks(has_history=True)
        self.assertEqual(tasks.settle(["t"]), set())
        self.assertEqual(tasks.open(), ["t"])
        self.assertIs(tasks.weigh(status(0, 0, LOST)), NEWS)
        self.assertEqual(tasks.settle(["t"]), {"t"})

    def test_what_ended_is_settled_again_when_another_program_may_have_been_active(self):
        tasks = Tasks(has_history=True)
        self.assertIs(tasks.weigh(status(3, 1, FAILED)), NEWS)
        self.assertEqual(tasks.settle(["t"]), {"t"})
        tasks.session_begun(is_resumed=True)
        self.assertEqual(tasks.settle(["t"]), {"t"})
        tasks.session_begun(is_resumed=False)
        self.assertEqual(tasks.settle(["t"]), set(), "the other may have launched it")
        self.assertEqual(tasks.open(), ["t"])
        self.assertIs(tasks.weigh(status(0, 0, LOST)), NEWS)
        self.assertEqual(tasks.settle(["t"]), {"t"}, "it did not")

    def test_the_end_of_a_launch_that_may_be_an_earlier_one_decides_nothing(self):
        tasks = Tasks(has_history=True)
        self.assertEqual(tasks.settle(["t"]), set())
        for _ in range(2):
            self.assertIs(tasks.weigh(status(1, 3, FAILED)), NEWS)
            self.assertEqual(tasks.settle(["t"]), set(), "a later launch may run where nobody has looked yet")
            self.assertFalse(tasks.may_launch("t"))
            self.assertEqual(tasks.open(), ["t"])
        # Its agent is back.
        self.assertIs(tasks.weigh(status(2, 1, RUNNING)), NEWS)
        self.assertEqual(tasks.open(), [])
        self.assertIs(tasks.weigh(status(2, 2, FINISHED)), NEWS)
        self.assertEqual(tasks.settle(["t"]), {"t"})
        self.assertIs(tasks.weigh(status(0, 0, LOST)), NEWS, "no end waits to be told again")

    def test_an_end_that_decided_nothing_is_told_again_when_the_master_has_answered(self):
        tasks = Tasks(has_history=True)
        tasks.settle(["t"])
        self.assertIs(tasks.weigh(status(1, 3, FAILED)), NEWS)
        tasks.session_begun(is_resumed=False)
        self.assertIs(tasks.weigh(status(0, 0, LOST)), AGAIN)
        end = tasks.take_end("t")
        self.assertEqual(end, status(1, 3, FAILED))
        tasks.not_kept("t", end)
        self.assertEqual(tasks.open(), ["t"])
        self.assertIs(tasks.weigh(status(0, 0, LOST)), AGAIN)
        self.assertEqual(tasks.take_end("t"), end)
        self.assertEqual(tasks.open(), [])
        self.assertEqual(tasks.settle(["t"]), {"t"})
        self.assertIs(tasks.weigh(status(1, 4, RUNNING)), REVENANT)


if __name__ == "__main__":
    unittest.main()
