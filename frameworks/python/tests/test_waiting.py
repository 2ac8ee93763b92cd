"""Waiting with a limit of time."""

import asyncio
import unittest

from proffer.waiting import within


class Waiting(unittest.IsolatedAsyncioTestCase):
    async def test_a_cancellation_that_comes_with_the_result_is_not_lost(self):
        for ticks in range(8):
            answer = asyncio.get_running_loop().create_future()
            waiting = asyncio.create_task(self.wait_and_go_on(answer))
            for _ in range(4):
                await asyncio.sleep(0)
            answer.set_result(None)
            for _ in range(ticks):
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait({waiting}, timeout=10)
            self.assertTrue(waiting.cancelled(), f"the cancellation came {ticks} ticks after the result")

    async def wait_and_go_on(self, answer):
        await within(100, answer)
        await asyncio.Event().wait()

    async def test_what_comes_too_late_is_cancelled(self):
        never = asyncio.get_running_loop().create_future()
        with self.assertRaises(asyncio.TimeoutError):
            await within(0.001, never)
        self.assertTrue(never.cancelled())

    async def test_a_failure_is_raised(self):
        async def fail():
            raise ValueError("it")

        with self.assertRaises(ValueError):
            await within(100, fail())


if __name__ == "__main__":
    unittest.main()
