//! `proffer run NAME`: an app from the command line, for a first try or a quick need.
//!
//! Only ever creates: an app that exists is a conflict, so that nobody replaces someone's app by a slip. Without a
//! command it runs the small web server of the binary itself, or what its image says.

use std::path::{Path, PathBuf};

use proffer_model::resources::parse_milli;
use proffer_model::{Problem, code};
use serde_json::{Map, Value, json};

use crate::app_file::{absolute_id, container_of};
use crate::connection::ClientArgs;
use crate::exit::Outcome;
use crate::output::{OutputArgs, Progress};
use crate::services_client::ServicesClient;
use crate::units::{number_of_milli, parse_instances};
use crate::verbs::app::show_apps;
use crate::wait::{WaitArgs, until_settled};

/// What runs when no command is given.
const DEFAULT_COMMAND: &str = "exec proffer hello --port $PORT0";

/// `proffer run`.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// What to call the app, such as web or /prod/web.
    name: String,
    /// How many instances to keep running.
    #[arg(long, value_name = "N", default_value = "1", value_parser = parse_instances, allow_negative_numbers = true)]
    instances: u64,
    /// The service port, where the load balancer listens; 0 takes one that is free. The instance itself listens on
    /// $PORT0.
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Processors for each instance, such as 0.1 or 2.
    #[arg(long, value_name = "AMOUNT", default_value = "0.1", value_parser = parse_milli, allow_negative_numbers = true)]
    cpus: u64,
    /// Memory for each instance, in MiB.
    #[arg(long, value_name = "MIB", default_value = "64", value_parser = parse_milli, allow_negative_numbers = true)]
    mem: u64,
    /// A variable of the environment; may be given again.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_pair)]
    env: Vec<(String, String)>,
    /// A label, for discovery and people; may be given again.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_pair)]
    label: Vec<(String, String)>,
    /// An instance is healthy while a GET of this path on $PORT0 is answered.
    #[arg(long, value_name = "PATH", conflicts_with = "check_tcp")]
    check_http: Option<String>,
    /// An instance is healthy while $PORT0 takes connections.
    #[arg(long)]
    check_tcp: bool,
    /// Run it in a container of this image: an archive as `docker save` or `skopeo copy` write it, at the same path on every
    /// agent's host.
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// The command: one word is a line for the shell, in which $PORT0 and the like are replaced; several are a program and
    /// its arguments. Without it, the small web server of this program. With --image, arguments for the image's entrypoint.
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    client: ClientArgs,
}

/// Creates the app.
pub(crate) async fn run(args: RunArgs) -> Outcome {
    let id = absolute_id(&args.name);
    let services = ServicesClient::new(&args.client)?;
    let mut progress = Progress::new();
    let image = match &args.image {
        Some(file) => Some(image_path(
            file,
            args.client.has_local_services(),
            &mut progress,
        )?),
        None => None,
    };
    services.create(&definition(&id, &args, image.as_deref())).await.map_err(|problem| {
        if problem.is(code::APP_EXISTS) {
            return problem.hint(format!(
                "choose another name, remove it with `proffer app rm {id}`, or change it with `proffer apply`"
            ));
        }
        problem
    })?;
    let apps = match args.wait.patience() {
        Some(patience) => {
            until_settled(
                &services,
                std::slice::from_ref(&id),
                patience,
                &mut progress,
            )
            .await?
        }
        None => vec![services.app(&id).await?],
    };
    show_apps(&apps, args.output)
}

/// The image's path for the agents. Where they are other hosts, nobody can look from here whether it is there.
fn image_path(file: &Path, is_local: bool, progress: &mut Progress) -> Result<String, Problem> {
    let wrong = |message: String, hint: &str| {
        Problem::new(code::FIELD_INVALID, message)
            .field("image")
            .hint(hint)
    };
    let shown = file.display();
    let path = std::path::absolute(file)
        .ok()
        .and_then(|path| path.to_str().map(str::to_owned))
        .ok_or_else(|| wrong(format!("{shown} is not a path"), "name a file"))?;
    if file.is_file() {
        return Ok(path);
    }
    if is_local {
        return Err(wrong(
            format!("there is no file {shown}"),
            "give an archive; images from registries are not supported yet: `docker save IMAGE -o FILE` makes one",
        ));
    }
    progress.say(&format!(
        "note: {path} is not on this host; it must be on every agent's"
    ));
    Ok(path)
}

fn definition(id: &str, args: &RunArgs, image: Option<&str>) -> Value {
    let is_hello = args.command.is_empty() && image.is_none();
    let mut app = json!({
        "id": id,
        "instances": args.instances,
        "cpus": number_of_milli(args.cpus),
        "mem": number_of_milli(args.mem),
        "env": map_of(&args.env),
        "labels": map_of(&args.label),
        "portDefinitions": [],
    });
    let Value::Object(fields) = &mut app else {
        return app;
    };
    if let Some(image) = image {
        fields.insert("container".to_owned(), container_of(&json!(image)));
    }
    match args.command.as_slice() {
        arguments if image.is_some() => fields.insert("args".to_owned(), json!(arguments)),
        [] => fields.insert("cmd".to_owned(), json!(DEFAULT_COMMAND)),
        [line] => fields.insert("cmd".to_owned(), json!(line)),
        arguments => fields.insert("args".to_owned(), json!(arguments)),
    };
    let check = match &args.check_http {
        Some(path) => Some(json!({ "protocol": "HTTP", "path": path })),
        None if args.check_tcp => Some(json!({ "protocol": "TCP" })),
        None if is_hello => Some(json!({ "protocol": "HTTP", "path": "/health" })),
        None => None,
    };
    // A check needs a port to probe, hello one to listen on.
    let port = args.port.or(check.as_ref().map(|_| 0));
    if let Some(port) = port {
        fields.insert(
            "portDefinitions".to_owned(),
            json!([{ "port": port, "name": "main" }]),
        );
    }
    if let Some(Value::Object(mut check)) = check {
        check.extend(check_times());
        fields.insert("healthChecks".to_owned(), json!([check]));
    }
    app
}

/// Quick enough for someone who waits; a file may say otherwise.
fn check_times() -> Map<String, Value> {
    let times = json!({
        "portIndex": 0,
        "gracePeriodSeconds": 60,
        "intervalSeconds": 2,
        "timeoutSeconds": 2,
        "maxConsecutiveFailures": 3,
    });
    match times {
        Value::Object(times) => times,
        _ => Map::new(),
    }
}

fn map_of(pairs: &[(String, String)]) -> Value {
    pairs
        .iter()
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect::<Map<_, _>>()
        .into()
}

pub(crate) fn parse_pair(text: &str) -> Result<(String, String), Problem> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        // The text may be a secret whose name was forgotten: it is not repeated.
        _ => Err(
            Problem::new(code::FIELD_INVALID, "there is no NAME= in front")
                .hint("write NAME=VALUE, such as GREETING=hello"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        run: RunArgs,
    }

    fn app(words: &[&str]) -> Value {
        let line = Line::try_parse_from([&["run"], words].concat())
            .unwrap_or_else(|error| panic!("{error}"));
        let image = line.run.image.as_deref().and_then(Path::to_str);
        definition(&absolute_id(&line.run.name), &line.run, image)
    }

    #[test]
    fn flags_become_an_app() {
        let web = app(&[
            "web",
            "--instances",
            "3",
            "--port",
            "80",
            "--cpus",
            "0.25",
            "--mem",
            "32",
            "--env",
            "A=b=c",
            "--label",
            "L=",
            "--check-tcp",
            "--",
            "python3",
            "-m",
            "http.server",
        ]);
        assert_eq!(web["id"], "/web");
        assert_eq!(web["args"], json!(["python3", "-m", "http.server"]));
        assert_eq!(web["cpus"].to_string(), "0.25");
        assert_eq!(web["instances"], 3);
        assert_eq!(web["portDefinitions"][0]["port"], 80);
        assert_eq!(web["env"], json!({ "A": "b=c" }));
        assert_eq!(web["labels"], json!({ "L": "" }));
        assert_eq!(web["healthChecks"][0]["protocol"], "TCP");
    }

    #[test]
    fn one_word_is_a_line_and_none_is_hello() {
        let line = app(&["a", "--", "sleep 5; echo $PORT0"]);
        assert_eq!(line["cmd"], "sleep 5; echo $PORT0");
        assert_eq!(line["portDefinitions"], json!([]));
        assert!(line.get("healthChecks").is_none());
        let hello = app(&["a"]);
        assert_eq!(hello["cmd"], DEFAULT_COMMAND);
        assert_eq!(hello["portDefinitions"][0]["port"], 0);
        assert_eq!(hello["healthChecks"][0]["path"], "/health");
        let checked = app(&["a", "--check-http", "/up", "--", "serve"]);
        assert_eq!(
            checked["portDefinitions"][0]["port"], 0,
            "a check needs a port"
        );
    }

    #[test]
    fn an_image_says_what_runs_and_words_are_its_arguments() {
        let plain = app(&["a", "--image", "/srv/a.tar"]);
        assert_eq!(plain["container"]["docker"]["image"], "/srv/a.tar");
        assert_eq!((&plain["args"], &plain["cmd"]), (&json!([]), &Value::Null));
        assert_eq!(plain["portDefinitions"], json!([]));
        assert!(plain.get("healthChecks").is_none());
        let one = app(&["a", "--image", "/srv/a.tar", "--", "serve"]);
        assert_eq!(one["args"], json!(["serve"]));
    }

    #[test]
    fn an_image_is_a_file_here_or_hopefully_there() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.tar");
        let mut progress = Progress::new();
        let problem = image_path(&file, true, &mut progress).unwrap_err();
        assert_eq!(problem.field, "image");
        let far = image_path(&file, false, &mut progress).unwrap();
        std::fs::write(&file, "").unwrap();
        assert_eq!(image_path(&file, true, &mut progress).unwrap(), far);
        assert_eq!(far, file.to_str().unwrap());
        let relative = image_path(Path::new("x/../y.tar"), false, &mut progress).unwrap();
        assert!(relative.starts_with('/'), "{relative}");
        let registry = image_path(Path::new("nginx:1.27"), true, &mut progress).unwrap_err();
        assert!(registry.hint.contains("docker save"), "{registry}");
    }

    #[test]
    fn wrong_flags_are_refused() {
        for words in [
            &["a", "--cpus", "-1"][..],
            &["a", "--cpus", "0.0001"],
            &["a", "--env", "NOVALUE"],
            &["a", "--env", "=x"],
            &["a", "--port", "70000"],
            &["a", "--instances", "-1"],
            &["a", "--check-tcp", "--check-http", "/"],
        ] {
            Line::try_parse_from([&["run"], words].concat()).expect_err(&words.join(" "));
        }
        let secret = parse_pair("hunter2").unwrap_err().to_string();
        assert!(!secret.contains("hunter2"));
    }
}
