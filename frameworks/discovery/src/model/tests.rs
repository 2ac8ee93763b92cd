//! The app list as it comes, and what is served of it.

use super::*;
use crate::apps::decode;

fn routes(apps: &str) -> Routes {
    routes_for(apps, "*", &BTreeMap::new())
}

fn routes_for(apps: &str, group: &str, owners: &BTreeMap<u16, String>) -> Routes {
    let apps = decode(format!("{{\"apps\":[{apps}]}}").as_bytes()).expect("a list");
    let known = BTreeMap::from([(
        HostName::parse("agent-1.lan").expect("name"),
        "10.0.0.1".parse().expect("address"),
    )]);
    let filter = GroupFilter::new([group.to_owned()]);
    let rules = Rules {
        filter,
        reserved: BTreeSet::from([9_090]),
    };
    build(&apps, &rules, &known, owners)
}

fn app(id: &str, port: u16, labels: &str, tasks: &str) -> String {
    format!(
        r#"{{"id":"{id}","portDefinitions":[{{"port":{port}}}],"labels":{{{labels}}},"tasks":[{tasks}]}}"#
    )
}

fn task(host: &str, port: u16) -> String {
    format!(r#"{{"id":"t-{port}","host":"{host}","ports":[{port}],"state":"TASK_RUNNING"}}"#)
}

fn left_out(routes: &Routes) -> Vec<String> {
    routes
        .left_out
        .iter()
        .map(|left| format!("{} {:?} {}", left.app, left.what, left.problem.code))
        .collect()
}

#[test]
fn instances_become_servers_with_marathon_lbs_names() {
    let tasks = [task("agent-1.lan", 31_000), task("127.0.0.1", 31_001)].join(",");
    let routes = routes(&app("/prod/web", 10_000, "", &tasks));
    let service = &routes.services[0];
    assert_eq!(
        (service.name.as_str(), service.port),
        ("prod_web_10000", 10_000)
    );
    let names: Vec<&str> = service.servers.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["127_0_0_1_31001", "agent_1_lan_10_0_0_1_31000"]);
    assert_eq!(routes.left_out, []);
}

#[test]
fn an_app_without_instances_keeps_its_port() {
    let routes = routes(&app("/a", 10_000, "", ""));
    assert_eq!(routes.services.len(), 1);
    assert_eq!(routes.server_count(), 0);
}

#[test]
fn bad_apps_are_left_out_by_name_and_the_rest_is_served() {
    let apps = [
        app(
            "/bad",
            10_000,
            r#""HAPROXY_0_MODE":"udp""#,
            &task("127.0.0.1", 1),
        ),
        app("/good", 10_001, "", &task("127.0.0.1", 2)),
        app("/secret", 10_002, r#""HAPROXY_0_AUTH":"r:u:p""#, ""),
    ];
    let routes = routes(&apps.join(","));
    assert_eq!(routes.services.len(), 1);
    assert_eq!(routes.services[0].app.as_str(), "/good");
    assert_eq!(
        left_out(&routes),
        ["/bad App label.invalid", "/secret App label.invalid"]
    );
}

#[test]
fn the_first_by_id_gets_the_port_unless_another_has_had_it() {
    let apps = [app("/b", 10_000, "", ""), app("/a", 10_000, "", "")].join(",");
    let first = routes_for(&apps, "*", &BTreeMap::new());
    assert_eq!(first.services[0].app.as_str(), "/a");
    assert_eq!(left_out(&first), ["/b Service app.port_taken"]);

    let owners = BTreeMap::from([(10_000, "b_10000".to_owned())]);
    let later = routes_for(&apps, "*", &owners);
    assert_eq!(later.services[0].app.as_str(), "/b");
    assert_eq!(left_out(&later), ["/a Service app.port_taken"]);
}

#[test]
fn the_sidecars_own_ports_are_not_given_away() {
    let routes = routes(&app("/a", 10_000, r#""HAPROXY_0_PORT":"9090""#, ""));
    assert_eq!(left_out(&routes), ["/a Service app.port_taken"]);
}

#[test]
fn what_is_left_out_is_counted_beyond_the_limit() {
    let tasks: Vec<String> = (0..LEFT_OUT_MAX + 5).map(|_| task("a b", 1)).collect();
    let routes = routes(&app("/a", 10_000, "", &tasks.join(",")));
    assert_eq!(
        (routes.left_out.len(), routes.left_out_count),
        (LEFT_OUT_MAX, LEFT_OUT_MAX + 5)
    );
}

#[test]
fn names_that_would_clash_are_settled_too() {
    let apps = [
        app("/a/b", 10_000, "", ""),
        app("/a_b", 10_000, r#""HAPROXY_0_PORT":"10001""#, ""),
    ];
    let routes = routes(&apps.join(","));
    assert_eq!(routes.services.len(), 1);
    assert_eq!(left_out(&routes), ["/a_b Service app.port_taken"]);
}

#[test]
fn a_host_name_has_one_owner() {
    let vhost = r#""HAPROXY_0_VHOST":"x.example.com""#;
    let apps = [app("/b", 10_001, vhost, ""), app("/a", 10_000, vhost, "")].join(",");
    let routes = routes(&apps);
    assert_eq!(routes.services[0].vhosts.len(), 1);
    assert_eq!(routes.services[1].vhosts.len(), 0);
    assert_eq!(left_out(&routes), ["/b VirtualHost label.invalid"]);
}

#[test]
fn groups_choose_apps_and_ports() {
    let apps = [
        app("/in", 10_000, r#""HAPROXY_GROUP":"web,x""#, ""),
        app("/out", 10_001, r#""HAPROXY_GROUP":"other""#, ""),
        app("/none", 10_002, "", ""),
        app(
            "/port",
            10_003,
            r#""HAPROXY_GROUP":"other","HAPROXY_0_GROUP":"web""#,
            "",
        ),
    ]
    .join(",");
    let served = |group: &str| -> Vec<u16> {
        let routes = routes_for(&apps, group, &BTreeMap::new());
        routes.services.iter().map(|s| s.port).collect()
    };
    assert_eq!(served("web"), [10_000, 10_003]);
    assert_eq!(served("*"), [10_000, 10_002, 10_001, 10_003]);
}

#[test]
fn instances_without_an_address_are_left_out_alone() {
    let tasks = [
        task("unknown.lan", 31_000),
        task("a b\\n", 31_001),
        r#"{"id":"np","host":"127.0.0.1","ports":[],"state":"TASK_RUNNING"}"#.to_owned(),
        task("127.0.0.1", 31_003),
        task("127.0.0.1", 31_003),
    ];
    let routes = routes(&app("/a", 10_000, "", &tasks.join(",")));
    assert_eq!(routes.server_count(), 1);
    assert_eq!(
        left_out(&routes),
        [
            "/a Instance peer.unreachable",
            "/a Instance field.invalid",
            "/a Instance field.missing"
        ]
    );
}

#[test]
fn an_http_check_or_a_vhost_makes_the_mode_http_and_the_label_wins() {
    let check = r#""healthChecks":[{"protocol":"HTTP","path":"/health"}]"#;
    for (labels, checks, mode, path) in [
        ("", "", Mode::Tcp, false),
        ("", check, Mode::Http, true),
        (r#""HAPROXY_0_MODE":"tcp""#, check, Mode::Tcp, true),
        (r#""HAPROXY_0_VHOST":"a.b""#, "", Mode::Http, false),
        (
            "",
            r#""healthChecks":[{"protocol":"HTTP","portIndex":1}]"#,
            Mode::Tcp,
            false,
        ),
        (
            "",
            r#""healthChecks":[{"protocol":"HTTP","path":"/a b\n"}]"#,
            Mode::Http,
            false,
        ),
    ] {
        let sep = if checks.is_empty() { "" } else { "," };
        let text = format!(
            r#"{{"id":"/a","portDefinitions":[{{"port":1000}}],"labels":{{{labels}}}{sep}{checks}}}"#
        );
        let service = routes(&text).services.remove(0);
        assert_eq!(
            (service.mode, service.check_path.is_some()),
            (mode, path),
            "{text}"
        );
    }
}

#[test]
fn containers_with_their_own_address_are_reached_there() {
    let text = r#"{"id":"/a","networks":[{"mode":"container"}],
        "container":{"portMappings":[{"containerPort":80,"servicePort":10000}]},
        "tasks":[{"id":"t","host":"agent-1.lan","ports":[],"state":"TASK_RUNNING",
                  "ipAddresses":[{"ipAddress":"192.168.0.9","protocol":"IPv4"}]}]}"#;
    let server = routes(text).services.remove(0).servers.remove(0);
    assert_eq!((server.name.as_str(), server.port), ("192_168_0_9_80", 80));
}

#[test]
fn udp_disabled_and_unnumbered_ports_are_not_served() {
    let text = r#"{"id":"/a","labels":{"HAPROXY_2_ENABLED":"false","HAPROXY_7_MODE":"tcp"},"portDefinitions":[
        {"port":10000,"protocol":"udp"},{"port":0},{"port":10002},{"port":10003,"protocol":"udp,tcp"}]}"#;
    let routes = routes(text);
    let ports: Vec<u16> = routes.services.iter().map(|s| s.port).collect();
    assert_eq!(ports, [10_003]);
    assert_eq!(left_out(&routes), ["/a Label label.invalid"]);
}
