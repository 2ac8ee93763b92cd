//! What is refused, what agents say of themselves, and how many share a connection.

use proffer_model::Secret;

use super::*;

impl Shared {
    pub(super) fn for_tests(fates: Fates) -> Self {
        Self {
            fates,
            witness: None,
            authorization: MetadataValue::from_static("Bearer x"),
            counts: Counters::default(),
            registered: watch::Sender::new(0),
            turns: Arc::new(Semaphore::new(1)),
            trouble: Mutex::new(None),
            finder: Mutex::new(None),
        }
    }
}

fn options() -> Options {
    Options {
        masters: Masters::parse(&["127.0.0.1:1".to_owned()]).unwrap(),
        insecure_allow_plaintext: false,
        token: LocalToken::new(Secret::new("x")),
        count: 3,
        resources: vec!["cpus:4".parse().unwrap(), "cpus:8".parse().unwrap()],
        attributes: vec!["rack:a".parse().unwrap()],
        regions: Vec::new(),
        zones: Vec::new(),
        fates: Fates {
            seed: 5,
            ..Fates::default()
        },
        agents_per_connection: None,
        witness: None,
    }
}

#[test]
fn every_agent_says_that_it_is_emulated_and_the_lists_go_round() {
    let descriptions = Descriptions::new(&options()).unwrap();
    let (id, first) = descriptions.of(0).unwrap();
    assert_eq!(id.as_str(), "emulated-5-1");
    assert_eq!(first.attributes.to_string(), "emulated:true;rack:a");
    assert!(first.version.ends_with("(emulated)"), "{}", first.version);
    assert!(first.address.contains(".invalid:"), "{}", first.address);
    let cpus: Vec<u64> = (0..3)
        .map(|number| descriptions.of(number).unwrap().1.resources.scalar("cpus"))
        .collect();
    assert_eq!(cpus, [4_000, 8_000, 4_000]);
    let mut bare = options();
    bare.attributes.clear();
    let (_, bare) = Descriptions::new(&bare).unwrap().of(0).unwrap();
    assert_eq!(bare.attributes.to_string(), "emulated:true");
}

fn names(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

#[test]
fn zones_go_round_with_their_regions() {
    let domains = |regions: Vec<String>, zones: Vec<String>| {
        let options = Options {
            regions,
            zones,
            ..options()
        };
        let descriptions = Descriptions::new(&options).unwrap();
        let domain = |number| {
            let domain = descriptions.of(number).unwrap().1.domain;
            domain.map_or_else(String::new, |at| format!("{}/{}", at.region, at.zone))
        };
        (0..4).map(domain).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(domains(vec![], vec![]), "   ");
    assert_eq!(domains(names("eu"), names("a b")), "eu/a eu/b eu/a eu/b");
    assert_eq!(
        domains(names("eu eu us"), names("a b a")),
        "eu/a eu/b us/a eu/a"
    );
}

#[tokio::test]
async fn every_wrong_option_is_refused_with_its_field() {
    type Spoil = fn(&mut Options);
    let table: [(&str, Spoil); 12] = [
        ("count", |options| options.count = 0),
        ("count", |options| options.count = COUNT_MAX + 1),
        ("agents_per_connection", |options| {
            options.agents_per_connection = Some(0);
        }),
        ("agents_per_connection", |options| {
            options.count = COUNT_MAX;
            options.agents_per_connection = Some(1);
        }),
        ("resources", |options| options.resources.clear()),
        ("resources", |options| {
            options.resources = vec!["ports:[1-70000]".parse().unwrap()];
        }),
        ("attributes", |options| {
            options.attributes = vec!["emulated:false".parse().unwrap()];
        }),
        ("region", |options| options.zones = names("b")),
        ("zone", |options| options.regions = names("eu-1")),
        ("region", |options| {
            options.regions = names("eu-1 e\u{a0}u");
            options.zones = names("b");
        }),
        ("zone", |options| {
            options.regions = names("eu-1");
            options.zones = vec!["b".to_owned(), String::new()];
        }),
        ("master", |options| {
            options.masters = Masters::parse(&["192.0.2.1:5060".to_owned()]).unwrap();
        }),
    ];
    for (place, (field, spoil)) in table.into_iter().enumerate() {
        let mut wrong = options();
        spoil(&mut wrong);
        // So that no machine's limit of open files is high enough.
        if field == "agents_per_connection"
            && wrong.count == COUNT_MAX
            && raise_open_files() > 200_000
        {
            continue;
        }
        let problem = Emulation::start(wrong).expect_err(field);
        assert!(problem.field.starts_with(field), "{place}: {problem}");
        assert!(!problem.hint.is_empty(), "{place}: {problem}");
    }
}

#[test]
fn agents_have_connections_of_their_own_until_open_files_bind() {
    for (count, files, expected) in [
        (1, 1_024, 1),
        (400, 1_024, 1),
        (1_000, 1_024, 8),
        (1_000, 20_000, 1),
        (8_000, 20_000, 1),
        (20_000, 20_000, 8),
        (50_000, 1_000_000, 8),
        (50_000, 10, 50_000),
        (100_000, 1_000_000, 13),
    ] {
        let shared = least_per_connection(count, files);
        assert_eq!(shared, expected, "{count} with {files}");
    }
}

#[tokio::test]
async fn without_a_master_it_goes_on_trying_and_says_why() {
    let mut lonely = options();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::mem::drop(listener);
    lonely.masters = Masters::parse(&[address]).unwrap();
    let emulation = Emulation::start(lonely).unwrap();
    assert_eq!(
        (emulation.connections(), emulation.agents_per_connection()),
        (3, 1)
    );
    assert_eq!(emulation.counts(), Counts::default());
    let patience = std::time::Duration::from_secs(30);
    let why = tokio::time::timeout(patience, async {
        loop {
            if let Some(why) = emulation.trouble()
                && why.message.contains("cannot be reached")
            {
                return why;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    });
    assert!(why.await.unwrap().is(code::PEER_UNREACHABLE));
}
