//! Plans for commands as people write them, on a machine that is only described.

use std::collections::BTreeMap;

use super::*;

const AUTO: &str = "/venv/lib/python3.11/site-packages/opentelemetry/instrumentation/auto_instrumentation";
const REGISTER: &str = "/srv/shop/node_modules/@opentelemetry/auto-instrumentations-node/build/src/register.js";

/// Files by path with their first bytes; everything in /bin and /venv/bin is executable.
struct Described {
    files: BTreeMap<PathBuf, &'static str>,
    python: PythonFindings,
    agent_listens: bool,
}

impl Default for Described {
    fn default() -> Self {
        let files = [
            ("/bin/python", "\x7fELF"),
            ("/bin/python3.11", "\x7fELF"),
            ("/bin/node", "\x7fELF"),
            ("/bin/npm", "#!/usr/bin/env node\n"),
            ("/bin/next", "#!/usr/bin/env -S node --no-warnings\n"),
            ("/bin/uv", "\x7fELF"),
            ("/bin/env", "\x7fELF"),
            ("/bin/sh", "\x7fELF"),
            ("/bin/server", "\x7fELF"),
            ("/bin/gunicorn", "#!/venv/bin/python\nimport sys"),
            ("/bin/uvicorn", "#!/bin/sh\n'''exec' \"/a long path/bin/python3\" \"$0\" \"$@\"\n' '''\n"),
            ("/bin/flask", "#!/usr/bin/env bash\nexec pyenv exec"),
            ("/venv/bin/python", "\x7fELF"),
            ("/srv/shop/.venv/bin/python", "\x7fELF"),
            ("/srv/shop/package.json", "{\n  \"name\": \"@acme/web-shop\",\n  \"version\""),
            ("/srv/shop/server.js", "require('express')"),
            (REGISTER, "..."),
        ];
        let python = PythonFindings {
            auto: AUTO.into(),
            distro: true,
            http: true,
            grpc: true,
            instrumentors: 5,
            pip: true,
            scripts: "/venv/bin".into(),
        };
        Self { files: files.into_iter().map(|(path, head)| (path.into(), head)).collect(), python, agent_listens: true }
    }
}

impl Probe for Described {
    fn find_program(&self, name: &OsStr) -> Option<PathBuf> {
        let path = Path::new("/bin").join(name);
        self.files.contains_key(&path).then_some(path)
    }

    fn load_head(&self, path: &Path) -> Option<Vec<u8>> {
        self.files.get(path).map(|head| head.as_bytes().to_vec())
    }

    fn is_file(&self, path: &Path) -> bool {
        self.files.contains_key(path)
    }

    fn ask_python(&self, _: &Path) -> Result<PythonFindings, String> {
        Ok(self.python.clone())
    }

    fn is_listening(&self, address: &str) -> bool {
        assert_eq!(address, "127.0.0.1:4318");
        self.agent_listens
    }
}

fn launch(command: &[&str]) -> Launch {
    Launch {
        service: None,
        endpoint: "http://127.0.0.1:4318".into(),
        instance: "box-7".into(),
        directory: "/srv/shop".into(),
        command: command.iter().map(OsString::from).collect(),
    }
}

fn variables(pairs: &[(&str, &str)]) -> Variables {
    pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn planned(command: &[&str], environment: &[(&str, &str)]) -> Result<Plan, LaunchError> {
    plan(&launch(command), &variables(environment), &Described::default())
}

fn runtime(command: &[&str]) -> String {
    match detect::detect(&launch(command), &Variables::new(), &Described::default()) {
        Ok((_, Runtime::Python { interpreter })) => interpreter.display().to_string(),
        Ok((_, Runtime::Node { .. })) => "node".to_owned(),
        Ok((_, Runtime::Other)) => "other".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_runtime_is_told_from_name_shebang_and_what_stands_before_it() {
    assert_eq!(runtime(&["python", "-m", "flask", "run"]), "/bin/python");
    assert_eq!(runtime(&["python3.11", "app.py"]), "/bin/python3.11");
    assert_eq!(runtime(&["env", "A=b", "-u", "C", "gunicorn", "shop:app"]), "/venv/bin/python");
    assert_eq!(runtime(&["sh", "-c", "exec A=b gunicorn shop:app && true"]), "/venv/bin/python");
    assert_eq!(runtime(&["uvicorn", "shop:app"]), "/a long path/bin/python3");
    assert_eq!(runtime(&["uv", "run", "flask", "run"]), "/srv/shop/.venv/bin/python");
    assert_eq!(runtime(&["flask", "run"]), "/bin/python", "a version manager's shim");
    for command in [&["node", "server.js"][..], &["npm", "start"], &["next", "start"], &["sh", "-lc", "node x.js"]] {
        assert_eq!(runtime(command), "node", "{command:?}");
    }
    assert_eq!(runtime(&["server"]), "other");
    assert_eq!(runtime(&["nothing-of-that-name"]), "nothing-of-that-name: command not found");
}

#[test]
fn python_gets_the_sdk_and_variables_and_its_arguments_stay() {
    let plan = planned(&["python", "-m", "flask", "run"], &[("PYTHONPATH", "/mine")]).unwrap();
    let expected = variables(&[
        ("OTEL_BSP_SCHEDULE_DELAY", "1000"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_LOGS_EXPORTER", "none"),
        ("OTEL_METRICS_EXPORTER", "otlp"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "15000"),
        ("OTEL_METRIC_EXPORT_TIMEOUT", "10000"),
        ("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "system_metrics"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=box-7"),
        ("OTEL_SERVICE_NAME", "shop"),
        ("OTEL_TRACES_EXPORTER", "otlp"),
        ("PYTHONPATH", &format!("{AUTO}:/mine")),
    ]);
    assert_eq!(plan.variables, expected);
    assert_eq!(plan.arguments, ["python", "-m", "flask", "run"]);
    assert_eq!(plan.notes, [""; 0]);
}

#[test]
fn node_requires_our_file_after_what_the_user_requires() {
    let environment = [("NODE_OPTIONS", "--max-old-space-size=99"), ("HOME", "/users/me too")];
    let plan = planned(&["node", "server.js"], &environment).unwrap();
    let file = format!("/users/me too/.cache/weir/register-{}.cjs", env!("CARGO_PKG_VERSION"));
    assert_eq!(plan.variables[OsStr::new("NODE_OPTIONS")], *format!("--max-old-space-size=99 --require \"{file}\""));
    assert_eq!(plan.variables[OsStr::new("WEIR_NODE_REGISTER")], *REGISTER);
    assert_eq!(plan.files, [PlannedFile { path: file.into(), content: node::REGISTER }]);
    assert_eq!(plan.service, "web-shop");
}

#[test]
fn what_the_user_has_set_stays() {
    let environment = [
        ("OTEL_SERVICE_NAME", "mine"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://elsewhere:4317"),
        ("OTEL_LOGS_EXPORTER", ""),
        ("OTEL_METRIC_EXPORT_INTERVAL", "60000"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=prod,service.instance.id=i"),
        ("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "none"),
    ];
    let plan = planned(&["python", "app.py"], &environment).unwrap();
    let set: Vec<_> = plan.variables.keys().map(|name| name.to_str().unwrap()).collect();
    assert_eq!(set, ["OTEL_BSP_SCHEDULE_DELAY", "OTEL_METRICS_EXPORTER", "OTEL_TRACES_EXPORTER", "PYTHONPATH"]);
    assert_eq!(plan.service, "mine");
    let by_flag = Launch { service: Some("flag".into()), ..launch(&["python", "app.py"]) };
    let plan = super::plan(&by_flag, &variables(&environment), &Described::default()).unwrap();
    assert_eq!(plan.variables[OsStr::new("OTEL_SERVICE_NAME")], *"flag", "the flag is the user's, too");
    let plan = planned(&["python", "app.py"], &[("OTEL_RESOURCE_ATTRIBUTES", "service.name=there")]).unwrap();
    assert!(!plan.variables.contains_key(OsStr::new("OTEL_SERVICE_NAME")), "it would win over the attribute");
    assert_eq!(plan.variables[OsStr::new("OTEL_RESOURCE_ATTRIBUTES")], *"service.instance.id=box-7,service.name=there");
}

#[test]
fn a_missing_sdk_is_explained_with_the_command_that_installs_it() {
    let bare = PythonFindings { pip: true, scripts: "/venv/bin".into(), ..PythonFindings::default() };
    let machine = Described { python: bare.clone(), ..Described::default() };
    let error = plan(&launch(&["gunicorn", "x:y"]), &Variables::new(), &machine).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    let text = error.to_string();
    assert!(text.contains("/venv/bin/python -m pip install opentelemetry-distro opentelemetry-exporter-otlp-proto-http\n    /venv/bin/opentelemetry-bootstrap -a install"), "{text}");
    let machine = Described { python: PythonFindings { pip: false, ..bare }, ..Described::default() };
    let text = plan(&launch(&["gunicorn", "x:y"]), &Variables::new(), &machine).unwrap_err().to_string();
    assert!(text.contains("uv pip install --python /venv/bin/python opentelemetry-distro"), "{text}");

    let mut machine = Described::default();
    machine.files.remove(Path::new(REGISTER));
    let text = plan(&launch(&["node", "server.js"]), &Variables::new(), &machine).unwrap_err().to_string();
    assert!(text.contains("npm install @opentelemetry/api @opentelemetry/auto-instrumentations-node"), "{text}");
    machine.files.insert("/srv/pnpm-lock.yaml".into(), "");
    let text = plan(&launch(&["npm", "start"]), &Variables::new(), &machine).unwrap_err().to_string();
    assert!(text.contains("pnpm add @opentelemetry/api"), "{text}");
}

#[test]
fn only_a_grpc_exporter_is_enough_and_no_instrumentation_is_said() {
    let python = PythonFindings { http: false, instrumentors: 0, ..Described::default().python };
    let machine = Described { python, ..Described::default() };
    let plan = plan(&launch(&["python", "app.py"]), &Variables::new(), &machine).unwrap();
    assert_eq!(plan.variables[OsStr::new("OTEL_EXPORTER_OTLP_PROTOCOL")], *"grpc");
    assert!(plan.notes[0].contains("opentelemetry-bootstrap -a install"));
}

#[test]
fn services_are_named_by_what_says_most() {
    for (command, name) in [
        (&["python", "orders.py"][..], "orders"),
        (&["python", "app.py"], "shop"),
        (&["python", "-m", "billing.web", "--port", "1"], "billing"),
        (&["gunicorn", "-b", "0.0.0.0:80", "cart.wsgi:app"], "cart"),
        (&["python", "-m", "uvicorn", "main:app"], "shop"),
        (&["npm", "start"], "web-shop"),
        (&["server"], "shop"),
    ] {
        assert_eq!(planned(command, &[]).unwrap().service, name, "{command:?}");
    }
}

#[test]
fn nobody_listening_is_said_and_hinders_nothing() {
    let machine = Described { agent_listens: false, ..Described::default() };
    let said = plan(&launch(&["python", "app.py"]), &Variables::new(), &machine).unwrap().notes;
    assert_eq!(said, ["nothing listens at http://127.0.0.1:4318 yet; start `weir up` or `weir agent`"]);
    let elsewhere = variables(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://elsewhere:4318")]);
    assert_eq!(plan(&launch(&["python", "app.py"]), &elsewhere, &machine).unwrap().notes, [""; 0]);
}
