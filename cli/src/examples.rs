//! What stands below the help of a command: how it is used, in lines that can be copied.
//!
//! Decides nothing. Each line is a whole command; what needs a file uses one of config/examples.

/// Below `proffer --help`.
pub(crate) const TOP: &str = "\
To begin:
  proffer dev config/examples/hello.toml   starts a whole cluster on this machine, deploys three
                                           instances of a small web server, prints their address

Exit codes:
    0  done
    1  failed, or the app's instances end one after the other
    2  the command line, a configuration file or an app is wrong
    3  a server cannot be reached or is not ready
    4  what was named does not exist
    5  refused: in conflict with what is there, or not allowed
    6  timed out waiting
  130  interrupted";

/// Below `proffer dev --help`.
pub(crate) const DEV: &str = "\
Examples:
  proffer dev                                        a cluster without apps
  proffer dev config/examples/hello.toml             and three instances of a web server
  proffer dev --port-base 20000 --data-dir /tmp/dev  a second one beside the first

Ports: 5050 master, 5051 agent, 5060 agents' link, 8080 services, 9090 discovery, 10000 to 20000
apps, 31000 to 32000 tasks. With --port-base, choose one below 32768: the kernel gives higher ones
to outgoing connections. The log is in the data directory.";

/// Below `proffer run --help`.
pub(crate) const RUN: &str = "\
Examples:
  proffer run web --instances 3 --port 10080                       the small web server
  proffer run files --check-http / -- 'python3 -m http.server $PORT0'
  proffer run worker --cpus 0.5 --mem 256 --env QUEUE=a -- ./worker --verbose
  proffer run web --image web.tar --port 10080 --check-tcp -- --listen-on-port0";

/// Below `proffer apply --help`.
pub(crate) const APPLY: &str = "\
Examples:
  proffer apply config/examples/hello.toml
  proffer apply shop.toml --timeout 2m -o json
  generate-apps | proffer apply -";

/// Below `proffer app --help`.
pub(crate) const APP: &str = "\
Examples:
  proffer app show web
  proffer app scale web 5
  proffer app restart web --timeout 2m
  proffer app rm web";

/// Below `proffer logs --help`.
pub(crate) const LOGS: &str = "\
Examples:
  proffer logs web                 all that its instances have written
  proffer logs -f --tail 10 web    the last ten lines of each, and what comes
  proffer logs web --stderr        only what went to standard error
  proffer logs job-7 --agent host-2   of a task that had ended when the leader changed";

/// Below `proffer why --help`.
pub(crate) const WHY: &str = "\
Examples:
  proffer why web                     an app: what its missing instances wait for
  proffer why services                a framework, by name or id: what it wants and is not offered
  proffer why 218758a._app.1          a task, by a part of its id: how it stands, how it ended

For demand that waits: the first thing that each agent fails by and on how many, what the quota
leaves, and how many others come first.";

/// Below `proffer tasks --help`.
pub(crate) const TASKS: &str = "\
Examples:
  proffer tasks --app web          with the address of each instance
  proffer tasks --all -o json      those that have ended too
  proffer tasks --agent a1-1 --state staging --label tier=front
  proffer tasks --framework services --watch";

/// Below `proffer task --help`.
pub(crate) const TASK: &str = "\
Examples:
  proffer task kill hello.instance-702c --grace 5s";

/// Below `proffer agents --help`.
pub(crate) const AGENTS: &str = "\
Examples:
  proffer agents --state unreachable
  proffer agents --attribute rack=a -o json
  proffer agents --watch";

/// Below `proffer offers --help`.
pub(crate) const OFFERS: &str = "\
Examples:
  proffer offers --framework batch
  proffer offers --watch -o json";

/// Below `proffer masters --help`.
pub(crate) const MASTERS: &str = "\
Examples:
  proffer masters --master 10.0.0.1:5050,10.0.0.2:5050,10.0.0.3:5050
  proffer masters --master zk://zk1:2181,zk2:2181,zk3:2181/proffer -o json";

/// Below `proffer roles --help`.
pub(crate) const ROLES: &str = "\
Examples:
  proffer roles
  proffer roles -o json

SHARE is what the role holds of that resource of the cluster of which it holds most. CONSUMED counts
against the quota: what is reserved for the role, and what it holds of what is not reserved.";

/// Below `proffer quota --help`.
pub(crate) const QUOTA: &str = "\
Examples:
  proffer quota set eng --guarantee cpus:10,mem:8192 --limit cpus:20
  proffer quota set batch --limit cpus:4         never more, whatever is free
  proffer quota set eng --limit none             the guarantee stays, the limit goes
  proffer quota show eng/web                     all that bound it: its own, eng's
  proffer quota rm batch

A quota is for a role with all beneath it. Of guarantee and limit, the one that `set` does not name
stays; the one that it names is what is given and nothing else. Tasks are never ended for a quota;
offers are taken back.";

/// Below `proffer weight --help`.
pub(crate) const WEIGHT: &str = "\
Examples:
  proffer weight set eng 2.5
  proffer weight rm eng

Weights order what is offered next; offers that stand and tasks that run stay as they are.";

/// Below `proffer reserve --help`.
pub(crate) const RESERVE: &str = "\
Examples:
  proffer reserve host-7 --role eng 'cpus:2;mem:1024'
  proffer reserve host-7 --role eng 'disk:10240' --label why=database
  proffer reserve host-7 --role eng/web 'cpus(eng):1'   of what is reserved for eng already

Offers that hold it are taken back; what tasks hold is refused. Done when this returns.";

/// Below `proffer unreserve --help`.
pub(crate) const UNRESERVE: &str = "\
Examples:
  proffer unreserve host-7 --role eng 'cpus:2;mem:1024'

What tasks hold is refused, and disk of which a volume is made. `proffer agent show` lists what is
reserved.";

/// Below `proffer volume --help`.
pub(crate) const VOLUME: &str = "\
Examples:
  proffer reserve host-7 --role db 'disk:10240'
  proffer volume create host-7 --role db --id data --size 4096
  proffer volume create host-7 --role db --id models --size 512 --shared
  proffer volume grow host-7 --id data --by 1024
  proffer volume rm host-7 --id data                    and all that is in it";

/// Below `proffer backup --help`.
pub(crate) const BACKUP: &str = "\
Examples:
  proffer backup cluster.backup
  proffer backup cluster.backup --force -o json
  proffer backup - | gpg -e -r ops > cluster.backup.gpg

It holds agents, frameworks and their state, quotas, weights, reservations and volumes, not tasks:
agents say themselves what they run. Frameworks' state may be secret: the file is its owner's alone.";

/// Below `proffer restore --help`.
pub(crate) const RESTORE: &str = "\
Examples:
  proffer restore cluster.backup --dry-run               says what it holds, and that it is whole
  proffer restore cluster.backup --store file:/var/lib/proffer/master
  proffer restore cluster.backup --store zk://zk1:2181,zk2:2181,zk3:2181/proffer

Stop the masters first, and restore where nothing is; start them when it is done.";

/// Below `proffer master --help`.
pub(crate) const MASTER: &str = "\
Examples:
  proffer master --store memory
  proffer master --config config/master.toml --check-config";

/// Below `proffer agent --help`.
pub(crate) const AGENT: &str = "\
Examples:
  proffer agent --resources 'cpus:4;mem:8192;ports:[31000-32000]' --attributes 'rack:a'
  proffer agent --config config/agent.toml --check-config
  proffer agent show host-7                  what it has, for whom it is reserved, what is used
  proffer agent deactivate host-7            nothing is offered of it any more; what runs goes on
  proffer agent drain host-7 --deadline 2h --wait   its tasks move away; what is left after 2h is killed
  proffer agent reactivate host-7
  proffer agent gone host-7                  it will not come back: its tasks are over, its id is refused";

/// Below `proffer services --help`.
pub(crate) const SERVICES: &str = "\
Examples:
  proffer services --master 127.0.0.1:5050
  proffer services --config config/services.toml --check-config";

/// Below `proffer discovery --help`.
pub(crate) const DISCOVERY: &str = "\
Examples:
  proffer discovery --run-haproxy
  proffer discovery --dry-run
  proffer discovery --config config/discovery.toml --check-config";

/// Below `proffer completions --help`.
pub(crate) const COMPLETIONS: &str = "\
Examples:
  bash: proffer completions bash > ~/.local/share/bash-completion/completions/proffer
  zsh:  proffer completions zsh  > ~/.zfunc/_proffer   (with fpath+=~/.zfunc before compinit)
  fish: proffer completions fish > ~/.config/fish/completions/proffer.fish";

/// Below `proffer simulate agents --help`.
pub(crate) const SIMULATE_AGENTS: &str = "\
Examples:
  proffer simulate agents --count 1000 --task-duration 1s-5s --failure-rate 0.01
  proffer simulate agents --count 200 --attributes rack:a --attributes rack:b
  proffer simulate agents --count 30 --region eu --zone a --zone b --zone c
  proffer simulate agents --master zk://zk1:2181,zk2:2181,zk3:2181/proffer -o json

Whatever the agents are told to run, they only say that it runs: it ends after --task-duration, with
code 0 or, as often as --failure-rate says, 1; a kill ends it at once; checks pass.";

/// Below `proffer bench allocator --help`.
pub(crate) const BENCH_ALLOCATOR: &str = "\
Examples:
  proffer bench allocator -o json
  proffer bench allocator 10000x1000 --rounds 50
  proffer bench allocator --grid mesos 1000x50 10000x1000";

/// Below `proffer bench launch --help`.
pub(crate) const BENCH_LAUNCH: &str = "\
Examples:
  proffer bench launch -o json
  proffer bench launch 1000 10000 --tasks 500000
  proffer bench launch --in-flight 1000 --tasks-per-accept 10";

/// Below `proffer bench mesos --help`.
pub(crate) const BENCH_MESOS: &str = "\
Examples:
  proffer bench mesos --tasks 100000 -o json
  proffer bench mesos 1000 --media protobuf --reoffers 500";

/// Below `proffer bench list --help`.
pub(crate) const BENCH_LIST: &str = "\
Examples:
  proffer bench list --tasks 100000 -o json
  proffer bench list 1000 --standing 50000 --rounds 1";
