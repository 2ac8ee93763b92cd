//! Sessions of executors that end, or are read slowly, and what that changes of their tasks: nothing that nobody asked for.

use super::*;

#[test]
fn what_an_executor_ends_by_itself_is_left_to_it_when_it_comes_back() {
    for has_crashed in [false, true] {
        let timed = TaskSpec {
            completion: Some(Duration::from_secs(600)),
            ..data("t")
        };
        let mut scene = Scene::started_with(timed).runs();
        scene.say(word("t", 2, TaskState::Killing));
        scene.agent.acknowledge("t", 1, 3);
        scene.story();
        match has_crashed {
            true => scene.crash(),
            false => scene.leave(),
        }
        scene.story();
        scene.subscribe(&[word("t", 2, TaskState::Killing)], &[task("t")]);
        assert_eq!(scene.story(), ["> subscribed", "> ack t 2"]);
        scene.agent.pass(Duration::from_secs(590));
        assert_eq!(scene.story(), [""; 0], "nobody has asked for its end");
        // Its time counts all the while.
        scene.agent.pass(Duration::from_secs(11));
        assert_eq!(scene.story(), ["t killing deadline_passed", "> kill t 3s"]);
    }
}
