"""Shorthands, the token's place."""

import unittest
from pathlib import Path

import proffer
import proffer.executor
from proffer.token import token_path


class Parts(unittest.TestCase):
    def test_resources_are_exact_thousandths(self):
        read = proffer.resources("cpus:0.1; mem:32;ports:[31000-31005,31010]")
        self.assertEqual([(scalar.name, scalar.milli) for scalar in read.scalars], [("cpus", 100), ("mem", 32_000)])
        ports = [(part.begin, part.end) for part in read.ranges[0].ranges]
        self.assertEqual(ports, [(31000, 31005), (31010, 31010)])

    def test_resources_may_be_sets_and_reserved_to_a_role(self):
        read = proffer.resources("zones:{a, b};cpus(eng/web):1.5;ports(eng):[1-2]")
        self.assertEqual(list(read.sets[0].items), ["a", "b"])
        special = [(one.name, one.reservations[0].role, one.WhichOneof("amount")) for one in read.special]
        self.assertEqual(special, [("cpus", "eng/web", "milli"), ("ports", "eng", "ranges")])
        self.assertEqual(read.special[0].milli, 1500)

    def test_bad_resources_are_refused(self):
        for bad in ["cpus", "cpus:", ":1", "cpus:0.0001", "cpus:-1", "cpus:nan", "cpus:inf", "ports:[1-x]", "ports:[]", "cpus(eng:1", "(eng):1"]:
            with self.assertRaises(proffer.ProfferError, msg=bad) as raised:
                proffer.resources(bad)
            self.assertEqual(raised.exception.code, "resources.invalid")

    def test_no_demand_for_nothing(self):
        self.assertEqual(proffer.demand("work", 0, "cpus:1"), [])
        self.assertEqual(proffer.demand("work", 2, "cpus:1")[0].count, 2)

    def test_numbers_that_no_message_can_hold_are_refused_with_their_field(self):
        offer = proffer.v1.Offer()
        agent = proffer.executor.Agent()
        for field, call in [
            ("count", lambda: proffer.demand("work", 2**32, "cpus:1")),
            ("count", lambda: proffer.demand("work", 1.5, "cpus:1")),
            ("ports", lambda: proffer.Remainder(offer).take("cpus:1", ports=-1)),
            ("ports", lambda: proffer.Remainder(offer).fits("cpus:1", ports=-1)),
            ("failover_timeout", lambda: proffer.Framework("127.0.0.1:1", "x", failover_timeout=-1)),
            ("failover_timeout", lambda: proffer.Framework("127.0.0.1:1", "x", failover_timeout=float("nan"))),
            ("call_timeout", lambda: proffer.Framework("127.0.0.1:1", "x", call_timeout=0)),
            ("exit_code", lambda: agent.update("t", proffer.v1.TASK_STATE_FAILED, exit_code=2**31)),
        ]:
            with self.assertRaises(proffer.ProfferError, msg=field) as raised:
                call()
            problem = raised.exception
            self.assertEqual((problem.code, problem.field), ("field.invalid", field))
            self.assertTrue(problem.hint, problem)

    def test_the_numbers_of_states_say_which_are_ends(self):
        self.assertEqual(proffer.state_name(224), "224")
        self.assertEqual([proffer.is_terminal(state) for state in (0, 192, 511, 512, 600, 900)], [False] * 3 + [True] * 3)

    def test_the_token_is_where_the_servers_look(self):
        for is_root, file, state, home, path in [
            (False, "/t", "/x", "/h", "/t"),
            (True, "/t", "/x", "/h", "/t"),
            (True, "", "/x", "/h", "/var/lib/proffer/token"),
            (False, "", "/x", "/h", "/x/proffer/token"),
            (False, "", "x", "/h", "/h/.local/state/proffer/token"),
            (False, "", "", "/h", "/h/.local/state/proffer/token"),
        ]:
            environment = {"PROFFER_TOKEN_FILE": file, "XDG_STATE_HOME": state, "HOME": home}
            self.assertEqual(token_path(environment, is_root), Path(path))
        with self.assertRaises(proffer.ProfferError):
            token_path({"HOME": "h"}, False)


if __name__ == "__main__":
    unittest.main()
