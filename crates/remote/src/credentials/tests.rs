use super::*;

fn read(text: &str) -> Result<Credentials, Error> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    std::fs::write(&path, text).unwrap();
    Credentials::from_docker_file(&path)
}

/// What is found, in words.
fn found(credentials: &Credentials, repository: &str) -> String {
    match credentials.find(&repository.parse().unwrap()) {
        Found::Secret(Secret::Basic(login)) => format!("{}:{}", login.user, login.password),
        Found::Secret(Secret::Identity(token)) => format!("identity {token}"),
        Found::Secret(Secret::Token(token)) => format!("token {token}"),
        Found::Helper(name) => format!("helper {name}"),
        Found::Nothing => "nothing".to_owned(),
    }
}

#[test]
fn logins_are_found_by_host_and_port() {
    let auth = STANDARD.encode("robot$x:pass:word");
    let credentials = read(&format!(
        r#"{{"auths":{{"https://index.docker.io/v1/":{{"auth":"{auth}"}},"ghcr.io":{{}},
            "r.example:5000":{{"username":"u","password":"p"}},"quay.io":{{"auth":"{auth}","identitytoken":"x"}},
            "t.example":{{"registrytoken":"y"}},"gcr.io":{{"auth":"{auth}"}},"empty.example":{{"auth":"{auth}"}}}},
            "credHelpers":{{"gcr.io":"gcloud","empty.example":"","none.example":""}},"credsStore":"desktop"}}"#
    ))
    .unwrap();
    for (repository, wanted) in [
        ("docker.io/a", "robot$x:pass:word"),
        ("index.docker.io/a", "robot$x:pass:word"),
        ("r.example:5000/a", "u:p"),
        ("quay.io/a", "identity x"),
        ("t.example/a", "token y"),
        ("gcr.io/a", "helper gcloud"),
        ("empty.example/a", "robot$x:pass:word"),
        ("none.example/a", "nothing"),
        ("r.example/a", "helper desktop"),
        ("r.example:5001/a", "helper desktop"),
        ("ghcr.io/a", "helper desktop"),
        ("evil.r.example:5000/a", "helper desktop"),
    ] {
        assert_eq!(found(&credentials, repository), wanted, "{repository}");
    }
    assert!(!format!("{credentials:?}").contains("pass"));
}

#[test]
fn the_longest_path_wins() {
    let login = |user: &str| format!(r#"{{"auth":"{}"}}"#, STANDARD.encode(format!("{user}:p")));
    let credentials = read(&format!(
        r#"{{"auths":{{"R.example":{},"r.example/team":{},"r.example/team/app":{},"https://s.example/x":{},"docker.io/library":{}}}}}"#,
        login("all"), login("team"), login("app"), login("s"), login("hub")
    ))
    .unwrap();
    for (repository, wanted) in [
        ("r.example/x", "all:p"),
        ("r.example/team", "team:p"),
        ("r.example/team/other", "team:p"),
        ("r.example/teams/app", "all:p"),
        ("r.example/team/app", "app:p"),
        ("r.example/team/app/deep", "app:p"),
        ("r.example/other/team/app", "all:p"),
        ("s.example/other", "s:p"),
        ("docker.io/library/debian", "hub:p"),
        ("docker.io/other/debian", "nothing"),
    ] {
        assert_eq!(found(&credentials, repository), wanted, "{repository}");
    }
}

#[test]
fn a_damaged_configuration_is_an_error_without_secrets_and_a_missing_one_is_none() {
    for text in [
        "",
        "{",
        "\"x\"",
        r#"{"auths":"secret"}"#,
        r#"{"auths":{"a.b":{"auth":"secret%"}}}"#,
        r#"{"auths":{"a.b":{"registrytoken":"secret\n"}}}"#,
        r#"{"credHelpers":{"a.b":["secret"]}}"#,
    ] {
        let error = read(text).unwrap_err();
        assert!(
            matches!(error, Error::BadLogin { .. }) && !format!("{error:?}").contains("secret"),
            "{text}"
        );
    }
    let none = Credentials::from_docker_file(Path::new("/not/there")).unwrap();
    assert_eq!(found(&none, "ghcr.io/a"), "nothing");
}

#[test]
fn the_environment_says_which_files_there_are() {
    let dir = tempfile::tempdir().unwrap();
    let put = |path: &str, registries: &[&str]| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let user = path.components().nth_back(1).unwrap().as_os_str().to_str().unwrap().to_owned();
        let auth = STANDARD.encode(format!("{user}:p"));
        let auths: Vec<_> = registries.iter().map(|r| format!(r#""{r}":{{"auth":"{auth}"}}"#)).collect();
        std::fs::write(path, format!(r#"{{"auths":{{{}}}}}"#, auths.join(","))).unwrap();
    };
    put("run/containers/auth.json", &["a.example"]);
    put("home/.config/containers/auth.json", &["a.example", "b.example"]);
    put("home/.docker/config.json", &["a.example", "b.example", "c.example"]);
    put("docker/config.json", &["d.example"]);
    put("named/auth.json", &["e.example"]);
    let of = |variables: &[(&str, &str)]| {
        Credentials::from_variables(|name| {
            let (_, path) = variables.iter().find(|(n, _)| *n == name)?;
            Some(dir.path().join(path).into_os_string())
        })
    };
    let base = [("XDG_RUNTIME_DIR", "run"), ("HOME", "home")];
    let all = of(&base).unwrap();
    assert_eq!(found(&all, "a.example/x"), "containers:p");
    assert_eq!(found(&all, "b.example/x"), "containers:p");
    assert_eq!(found(&all, "c.example/x"), ".docker:p");
    let docker = of(&[base[0], base[1], ("DOCKER_CONFIG", "docker")]).unwrap();
    assert_eq!(found(&docker, "a.example/x"), "nothing");
    assert_eq!(found(&docker, "d.example/x"), "docker:p");
    let named = [("DOCKER_CONFIG", "docker"), ("REGISTRY_AUTH_FILE", "named/auth.json")];
    assert_eq!(found(&of(&named).unwrap(), "e.example/x"), "named:p");
    assert_eq!(found(&of(&named).unwrap(), "d.example/x"), "nothing");
    assert!(matches!(of(&[("REGISTRY_AUTH_FILE", "none")]), Err(Error::BadLogin { .. })));
    assert_eq!(found(&of(&[]).unwrap(), "a.example/x"), "nothing");
}

#[test]
fn a_helper_has_a_name_and_no_path() {
    for name in ["desktop", "ecr-login", "gcloud", "osx_keychain", "a.b", "0"] {
        assert!(helper::is_name(name), "{name}");
    }
    for name in ["", "/bin/sh", "../x", "a/b", ".hidden", "-x", "a b", "a;b", "a\n", "é", &"a".repeat(65)] {
        assert!(!helper::is_name(name), "{name}");
    }
}
