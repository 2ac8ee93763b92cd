"""Where masters are said to be: lists, and places in ZooKeeper."""

import sys
import unittest
from unittest import mock

import proffer
from proffer.limits import MASTERS_MAX, ZOOKEEPER_HOSTS_MAX
from proffer.masters import find_masters, parse_masters, parse_zookeeper


class Read(unittest.TestCase):
    def assert_refused(self, why, read, *arguments):
        with self.assertRaises(proffer.ProfferError, msg=arguments) as raised:
            read(*arguments)
        problem = raised.exception
        self.assertEqual((problem.code, problem.field), ("config.invalid", "masters"))
        self.assertIn(why, problem.message)
        self.assertTrue(problem.hint)
        self.assertNotIn("s3cret", str(problem))
        return problem

    def test_lists_are_read_in_every_form(self):
        for given, expected in [
            ("127.0.0.1:5050, http://localhost:5051/,[::1]:5052", ["127.0.0.1:5050", "localhost:5051", "[::1]:5052"]),
            (["a:1,b:2", "c:3", "a:1"], ["a:1", "b:2", "c:3"]),
            ([" a:1 ,"], ["a:1"]),
        ]:
            self.assertEqual(parse_masters(given, True), expected)

    def test_what_is_wrong_with_a_list_is_said(self):
        for bad in ["", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:99999", "::1:5050", "[::1:5050", "https://127.0.0.1:1", "user@127.0.0.1:1", "a b:1", "10.0.0.1:5050"]:
            self.assert_refused("", parse_masters, bad, False)
        self.assert_refused("masters are given", parse_masters, ",".join(f"m{n}:1" for n in range(MASTERS_MAX + 1)), True)
        self.assert_refused("beside", find_masters, ["zk://z/p", "a:1"], True)

    def test_places_in_zookeeper_are_read_as_the_servers_read_them(self):
        for text, expected in [
            ("zk://a/p", "zk://a:2181/p"),
            (" zk://a:1,b/p/q/", "zk://a:1,b:2181/p/q"),
            ("zk://[::1]:5,[::1]/p", "zk://[::1]:5,[::1]:2181/p"),
            ("zk://u:p%40%2f%25@a/p", "zk://a:2181/p"),
        ]:
            self.assertEqual(str(parse_zookeeper(text)), expected)

    def test_what_is_wrong_with_a_place_is_said(self):
        for bad, why in [
            (f"zk://{'h,' * ZOOKEEPER_HOSTS_MAX}h/p", "more than 64 hosts"),
            ("zk://h", "no path"),
            ("zk://h/", "/ alone"),
            ("zk://h//p", "part of its path"),
            ("zk://h/a/../b", "part of its path"),
            ("zk://h/a b", "part of its path"),
            ("zk://h/zookeeper/p", "ZooKeeper's own"),
            (f"zk://h/{'p' * 200}", "too long"),
            ("zk:///p", "not a host"),
            ("zk://h,,i/p", "not a host"),
            ("zk://h:0/p", "port"),
            ("zk://h:70000/p", "port"),
            ("zk://h:/p", "port"),
            ("zk://::1/p", "not a host"),
            ("zk://[h]/p", "not a host"),
            ("zk://user@h/p", "no password"),
            ("zk://user:@h/p", "must be given"),
            ("zk://:s3cret@h/p", "must be given"),
            ("zk://u:s3cret%4@h/p", "hexadecimal"),
            ("zk://u:s3cret@z:x/p", "port"),
        ]:
            self.assert_refused(why, parse_zookeeper, bad)

    def test_a_zookeeper_beyond_this_host_takes_a_word(self):
        self.assert_refused("zk://10.0.0.1:2181/p is not on this host", find_masters, "zk://u:s3cret@10.0.0.1/p", False)
        self.assertTrue(parse_zookeeper("zk://127.0.0.1,[::1]:7,LOCALHOST/p").is_loopback())
        self.assertFalse(parse_zookeeper("zk://127.0.0.1,localhost.example.org/p").is_loopback())

    def test_without_kazoo_it_is_said_what_to_install(self):
        with mock.patch.dict(sys.modules, {"kazoo": None, "kazoo.client": None}):
            sys.modules.pop("proffer.zookeeper", None)
            problem = self.assert_refused("not installed", proffer.Framework, "zk://127.0.0.1/p", "test")
        self.assertIn("pip install 'proffer[zookeeper]'", problem.hint)


class Found(unittest.IsolatedAsyncioTestCase):
    async def test_a_zookeeper_that_is_not_there_is_out_of_reach_and_tried_again(self):
        with mock.patch("proffer.limits.ZOOKEEPER_TIMEOUT", 0.2):
            sys.modules.pop("proffer.zookeeper", None)
            masters = find_masters("zk://127.0.0.1:1/p", False)
        for _ in range(2):
            with self.assertRaises(proffer.Unreachable) as raised:
                await masters.candidates()
            self.assertIn("zk://127.0.0.1:1/p", raised.exception.message)
        await masters.close()

    def test_only_masters_of_ours_are_believed(self):
        from proffer.zookeeper import _address

        for data, address in [
            (b'{"id":"m","proffer":{"address":"127.0.0.1:5050"}}', "127.0.0.1:5050"),
            (b'{"pid":"master@127.0.0.1:5050"}', ""),
            (b'{"proffer":{"later":1}}', ""),
            (b'{"proffer":{"address":["a:1"]}}', ""),
            (b'{"proffer":{"address":"a:1,b:2"}}', ""),
            (b"[1]", ""),
            (b"\xff garbage", ""),
            (b'"' + b"x" * 70_000 + b'"', ""),
        ]:
            self.assertEqual(_address(data), address, data[:40])


if __name__ == "__main__":
    unittest.main()
