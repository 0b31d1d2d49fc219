//! The configuration: whose word counts, and what is wrong with one.

// Test code may unwrap.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};

use cosign::{Policy, SigningKey};
use factory_server::config::{Error, Loaded, Origin, Source, load};

/// Sigstore's public instance.
const TRUSTED_ROOT: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/cosign/tests/public/trusted_root.json");

fn variables(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// What files of these names and texts, and these variables, mean.
fn read(files: &[(&str, &str)], environment: &[(&str, &str)]) -> Result<Loaded, Error> {
    let dir = tempfile::tempdir().unwrap();
    let sources: Vec<Source> = files
        .iter()
        .map(|(name, text)| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            Source::from(path.to_str().unwrap().to_owned())
        })
        .collect();
    load(&sources, variables(environment))
}

/// What is wrong, without the directory.
fn refused(files: &[(&str, &str)], environment: &[(&str, &str)]) -> String {
    let text = read(files, environment).unwrap_err().to_string();
    let word = |word: &str| word.rsplit('/').next().unwrap().to_owned();
    text.split(' ')
        .map(|part| if part.contains("/.tmp") { word(part) } else { part.to_owned() })
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn without_any_configuration_nothing_but_the_loopback_listens() {
    let loaded = read(&[], &[("PATH", "/bin"), ("IFS", " ")]).unwrap();
    assert!(!loaded.configured);
    assert_eq!(loaded.config.http.http_listen_addr.to_string(), "127.0.0.1:8080");
    assert_eq!(loaded.config.metrics.addr.unwrap().to_string(), "127.0.0.1:2122");
    assert_eq!(loaded.config.http.external_url, None);

    // With one, the reference's defaults hold, even if it sets nothing.
    for text in ["", "# nothing yet\n", "http:\n", "{}"] {
        let loaded = read(&[("factory.yaml", text)], &[]).unwrap();
        assert!(loaded.configured);
        assert_eq!(loaded.config.http.http_listen_addr.to_string(), ":8080", "{text:?}");
        assert_eq!(loaded.config.metrics.addr.unwrap().to_string(), ":2122");
    }
}

#[test]
fn a_configuration_of_the_reference_means_the_same() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/reference.yaml");
    let loaded = load(&[Source::from(path.to_owned())], []).unwrap();
    let config = loaded.config;
    let sources = config.sources().unwrap();
    let core = sources.core.unwrap();
    assert_eq!((core.origin.registry.as_str(), core.origin.policy.is_none()), ("registry.example", true));
    assert!(sources.catalogues.is_empty());
    assert_eq!(config.http.external_url.unwrap().base(), "https://factory.example");
    assert_eq!(config.http.external_pxe_url.unwrap().base(), "https://pxe.factory.example");
    assert_eq!(config.http.allowed_origins, ["https://console.example"]);
    assert_eq!(config.http.cert_file, None);
    assert_eq!(config.build.min_talos_version.unwrap().to_string(), "v1.2.0");
    assert_eq!(config.build.broken_talos_versions[0].to_string(), "v1.10.0");
    assert_eq!(config.metrics.addr, None);
    // What has no effect is said, each with its line.
    assert!(loaded.unused.len() > 60, "{}", loaded.unused.len());
    let (_, origin, why) = loaded.unused.iter().find(|(key, ..)| key == "cache.s3.bucket").unwrap();
    let Origin::File { line, .. } = origin else { panic!("{origin:?}") };
    let line = usize::try_from(*line).unwrap();
    assert_eq!(std::fs::read_to_string(path).unwrap().lines().nth(line - 1).unwrap(), "    bucket: factory");
    assert!(why.contains("nothing to keep"));
}

#[test]
fn without_a_registry_nobody_is_asked() {
    let loaded = read(&[("a.yaml", "build: {minTalosVersion: 1.2.0}")], &[]).unwrap();
    let sources = loaded.config.sources().unwrap();
    assert!(sources.core.is_none() && sources.catalogues.is_empty());
}

#[test]
fn sources_are_what_the_keys_say() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let file = |name: &str, key: &SigningKey| {
        let path = dir.path().join(name);
        std::fs::write(&path, key.public_key_pem()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (ours_pem, theirs_pem) = (file("ours.pub", &ours), file("theirs.pub", &theirs));
    let text = format!(
        "artifacts:
  core: {{registry: registry.example, namespace: /mirror/a/, components: {{imager: acme/imager}}}}
  catalogues:
    - {{registry: 'other.example:5000', namespace: p, repository: acme/extensions, overlays: acme/overlays,
       containerSignature: {{publicKeyFile: {theirs_pem}}}}}
    - {{name: bare, registry: third.example, repository: extensions, containerSignature: {{disabled: true}}}}
enterprise: {{extraExtensions: {{manifest: {{registry: fourth.example, namespace: acme, repository: extensions}}}}}}
containerSignature: {{publicKeyFile: {ours_pem}}}
registry: {{jobs: 32}}
"
    );
    let sources = read(&[("a.yaml", &text)], &[]).unwrap().config.sources().unwrap();
    let core = sources.core.unwrap();
    assert_eq!(
        (core.origin.namespace.as_str(), core.components.imager.as_str()),
        ("mirror/a", "acme/imager")
    );
    assert_eq!(core.components.installer_base, "siderolabs/installer-base");
    assert_eq!(core.origin.client.options().parallel_blobs, 2);
    let key = |policy: &Option<Policy>| match policy {
        Some(Policy::Key(key)) => Some(key.fingerprint()),
        _ => None,
    };
    assert_eq!(key(&core.origin.policy), Some(ours.fingerprint()));
    let [first, second, third] = &sources.catalogues[..] else { panic!("{:?}", sources.catalogues) };
    assert_eq!(first.name, "other.example:5000/p/acme/extensions");
    assert_eq!(first.overlays.as_deref(), Some("acme/overlays"));
    assert_eq!(key(&first.origin.policy), Some(theirs.fingerprint()));
    assert_eq!((second.name.as_str(), second.origin.policy.is_none()), ("bare", true));
    assert_eq!((third.extensions.as_deref(), third.origin.namespace.as_str()), (Some("acme/extensions"), ""));
    assert_eq!(key(&third.origin.policy), Some(ours.fingerprint()));
    // A key is asked before an identity, each for itself is enough.
    let text = format!(
        "artifacts: {{core: {{registry: r.example}}}}
containerSignature: {{publicKeyFile: {ours_pem}, subjectRegExp: '@a$', trustedRootFile: {TRUSTED_ROOT}}}
registry: {{mirrors: ['r.example=http://m.example/p', '*=n.example']}}
"
    );
    let core = read(&[("a.yaml", &text)], &[]).unwrap().config.sources().unwrap().core.unwrap();
    let Some(Policy::Any(policies)) = &core.origin.policy else { panic!("{:?}", core.origin.policy) };
    assert!(matches!(&policies[..], [Policy::Key(_), Policy::Keyless(_)]), "{policies:?}");
    let mirrors = &core.origin.client.options().mirrors;
    let expected = ["r.example=http://m.example/p", "*=n.example"]
        .iter()
        .fold(remote::Mirrors::none(), |all, text| all.with(text.parse().unwrap()).unwrap());
    assert_eq!(*mirrors, expected);
    let text = format!(
        "artifacts: {{core: {{registry: r.example}}}}
containerSignature: {{subjectRegExp: '@a$', issuerRegExp: b, trustedRootFile: {TRUSTED_ROOT}}}"
    );
    let core = read(&[("a.yaml", &text)], &[]).unwrap().config.sources().unwrap().core.unwrap();
    assert!(matches!(core.origin.policy, Some(Policy::Keyless(_))));
    // A list of groups is JSON in the environment.
    let catalogues =
        r#"[{"registry": "a.example", "repository": "e", "containerSignature": {"disabled": true}}]"#;
    let sources = read(&[], &[("IF_ARTIFACTS_CATALOGUES", catalogues)]).unwrap().config.sources().unwrap();
    assert_eq!(sources.catalogues[0].name, "a.example/e");
}

#[test]
fn sources_that_are_not_sound_say_what_to_set() {
    let dir = tempfile::tempdir().unwrap();
    let junk = dir.path().join("junk.pub");
    std::fs::write(&junk, "junk").unwrap();
    let root = TRUSTED_ROOT;
    let wrong = |text: &str| {
        let error =
            anyhow::Error::from(read(&[("a.yaml", text)], &[]).unwrap().config.sources().unwrap_err());
        format!("{error:#}")
    };
    let with = |rest: &str| wrong(&format!("artifacts: {{core: {{registry: r.example}}}}\n{rest}"));
    for (error, says) in [
        (with(""), "`containerSignature.publicKeyFile` or `containerSignature.subjectRegExp`"),
        (
            with("containerSignature: {subjectRegExp: '@a$'}"),
            "keyless signatures: set `containerSignature.trustedRootFile`",
        ),
        (
            with(&format!("containerSignature: {{subjectRegExp: a, trustedRootFile: {}}}", junk.display())),
            "reading the trusted root",
        ),
        (
            with(&format!("containerSignature: {{subjectRegExp: '(', trustedRootFile: {root}}}")),
            "`containerSignature.subjectRegExp`",
        ),
        (with("registry: {mirrors: [ghcr.io]}\ncontainerSignature: {disabled: true}"), "`registry.mirrors`"),
        (with("containerSignature: {publicKeyFile: /none/key.pub}"), "reading `/none/key.pub`"),
        (with(&format!("containerSignature: {{publicKeyFile: {}}}", junk.display())), "reading the key"),
        (
            with("containerSignature: {publicKeyFile: /none, publicKeyHashAlgo: sha512}"),
            "`containerSignature.publicKeyHashAlgo` is `sha512`",
        ),
        (wrong("artifacts: {core: {registry: nohost}}"), "`artifacts.core.registry`: `nohost` is not"),
        (
            wrong(
                "{artifacts: {core: {registry: r.example, namespace: A}}, containerSignature: {disabled: true}}",
            ),
            "`artifacts.core.components.installerBase`: `A/siderolabs/installer-base` is no name",
        ),
        (
            wrong("artifacts: {catalogues: [{registry: r.example, repository: e}]}"),
            "`artifacts.catalogues[0].containerSignature.publicKeyFile`",
        ),
        (
            wrong("artifacts: {catalogues: [{registry: r.example, containerSignature: {disabled: true}}]}"),
            "`artifacts.catalogues[0].repository`",
        ),
        (
            wrong("artifacts: {refreshInterval: 0s}"),
            "`artifacts.refreshInterval` must be longer than nothing, as `5m`",
        ),
    ] {
        assert!(error.contains(says), "{error}");
    }
    for (text, says) in [
        ("artifacts: {catalogues: [{registy: a}]}", "unknown field `registy`"),
        ("artifacts: {catalogues: [a]}", "`artifacts.catalogues` takes list of groups"),
        ("artifacts: {catalogues: [{containerSignature: {key: a}}]}", "unknown field `key`"),
        ("registry: {jobs: 0}", "`registry.jobs`"),
    ] {
        let error = refused(&[("a.yaml", text)], &[]);
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn later_sources_and_the_environment_go_first() {
    let first = ("a.yaml", "http:\n  externalURL: http://a/\n  maxConnections: 7\n");
    let second = ("b.json", r#"{"http": {"externalURL": "http://b/"}, "metrics": {"addr": ":1"}}"#);
    let third =
        (".env", "# for the server\nexport IF_METRICS_ADDR=':2'\nOTHER=1\n\nIF_LOG_LEVEL=\"debug\"\n");
    let config = read(&[first, second], &[]).unwrap().config;
    assert_eq!(config.http.external_url.unwrap().base(), "http://b");
    assert_eq!(config.http.max_connections.get(), 7);
    let environment = [
        ("IF_HTTP_EXTERNALURL", "https://c/"),
        ("IF_HTTP_ALLOWEDORIGINS", r#"["http://x", "http://y"]"#),
        ("IF_BUILD_BROKENTALOSVERSIONS", "v1.0.0, 1.1.0"),
        ("IF_SECUREBOOT_ENABLED", "true"),
        ("IF_HTTP_MAXCONNECTIONS", "9"),
        ("IF_HTTP_SENDTIMEOUT", "1m30s"),
    ];
    let config = read(&[second, first, third], &environment).unwrap().config;
    assert_eq!(config.http.external_url.unwrap().base(), "https://c");
    assert_eq!(config.http.allowed_origins, ["http://x", "http://y"]);
    assert_eq!(config.build.broken_talos_versions.len(), 2);
    assert!(config.secure_boot.enabled);
    assert_eq!((config.http.max_connections.get(), config.http.send_timeout.0.as_secs()), (9, 90));
    assert_eq!(
        (config.metrics.addr.unwrap().to_string().as_str(), config.log.level.as_str()),
        (":2", "debug")
    );
    // Case says nothing, as in the reference.
    let config = read(&[("a.yaml", "HTTP:\n  externalurl: http://a\n")], &[]).unwrap().config;
    assert_eq!(config.http.external_url.unwrap().base(), "http://a");
    // Another prefix, as the reference takes it.
    let source = Source::from("env=FACTORY_".to_owned());
    let config = load(&[source], variables(&[("FACTORY_LOG_LEVEL", "warn")])).unwrap().config;
    assert_eq!(config.log.level, "warn");
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let table: [(&str, &str); 16] = [
        (
            "http:\n  externalUrl: http://a\n  externalPxeURI: http://a\n",
            "a.yaml:3:3: there is no key `http.externalPxeURI`; did you mean `http.externalPXEURL`?",
        ),
        (
            "htpp: {}\nhtp:\n  certfile: a\n",
            "a.yaml:3:3: there is no key `htp.certfile`; did you mean `http.certFile`?",
        ),
        (
            "cache:\n  s3:\n    buckets: a\n",
            "a.yaml:3:5: there is no key `cache.s3.buckets`; did you mean `cache.s3.bucket`?",
        ),
        ("http: 5\n", "a.yaml:1:1: there is no key `http`; did you mean `http.keyFile`?"),
        ("http:\n  httpListenAddr: 8080\n", "a.yaml:2:3: `http.httpListenAddr` takes text"),
        ("secureBoot: {enabled: maybe}\n", "a.yaml:1:14: `secureBoot.enabled` takes true or false"),
        ("http: {maxConnections: many}\n", "a.yaml:1:8: `http.maxConnections` takes number"),
        (
            "http: {allowedOrigins: {a: b}}\n",
            "a.yaml:1:25: there is no key `http.allowedOrigins.a`; did you mean `http.allowedOrigins`?",
        ),
        ("http: {allowedOrigins: [1]}\n", "a.yaml:1:8: `http.allowedOrigins` takes list"),
        (
            "http: {httpListenAddr: here}\n",
            "a.yaml:1:8: `http.httpListenAddr`: `here` is no address to listen on: expected `HOST:PORT` or `:PORT`",
        ),
        (
            "http: {sendTimeout: soon}\n",
            "a.yaml:1:8: `http.sendTimeout`: `soon` is no time: expected for instance `90s`, `15m` or `1h30m`",
        ),
        (
            "http: {externalURL: factory.example}\n",
            "a.yaml:1:8: `http.externalURL`: `factory.example` is no address on the web: expected `http://HOST` or \
             `https://HOST`, without user, query or fragment",
        ),
        (
            "http: {maxConnections: 0}\n",
            "a.yaml:1:8: `http.maxConnections`: invalid value: integer `0`, expected a nonzero usize",
        ),
        (
            "log: {format: xml}\n",
            "a.yaml:1:7: `log.format`: unknown variant `xml`, expected `text` or `json`",
        ),
        ("http: {certFile: a}\n", "`http.certFile` and `http.keyFile` are set together or not at all"),
        (
            "authentication: {enabled: true}\n",
            "a.yaml:1:18: this server has no authentication; put it behind a proxy that has, and remove the key",
        ),
    ];
    for (text, want) in table {
        assert_eq!(refused(&[("a.yaml", text)], &[]), want, "{text}");
    }
    for on in ["1", "True", "\"true\"", "yes", "[]"] {
        let error = refused(&[("a.yaml", &format!("authentication: {{enabled: {on}}}\n"))], &[]);
        assert!(error.contains("this server has no authentication"), "{on}: {error}");
    }
    for key in ["headerTimeout", "bodyTimeout", "sendTimeout"] {
        let error = refused(&[("a.yaml", &format!("http: {{{key}: 0s}}\n"))], &[]);
        assert_eq!(error, format!("`http.{key}` must be longer than nothing, as `30s`"));
    }
    for text in ["http: [", "http: {a: b}}", "- a\n", "text", "\u{0}", "a: &a [*a]\n", "a: 1\na: 2\n"] {
        let error = refused(&[("a.yaml", text)], &[]);
        assert!(error.contains("a.yaml"), "{text:?}: {error}");
    }
    let deep = "[".repeat(100_000);
    assert!(refused(&[("a.yaml", &deep)], &[]).contains("a.yaml"));
    assert!(refused(&[("a.yaml", &"#".repeat(2 << 20))], &[]).contains("more than 1048576 bytes"));
    assert_eq!(refused(&[(".env", "IF_LOG_LEVEL\n")], &[]), ".env:1:1: expected `NAME=VALUE`");
    assert_eq!(
        refused(&[], &[("IF_HTTP_EXTERNAL_URL", "http://a")]),
        "$IF_HTTP_EXTERNAL_URL: there is no key `http.external.url`; did you mean `IF_HTTP_EXTERNALURL`?"
    );
    assert!(refused(&[], &[("IF_HTTP_ALLOWEDORIGINS", "[a")]).starts_with("$IF_HTTP_ALLOWEDORIGINS: "));
    assert!(
        refused(&[], &[("IF_AUTHENTICATION_ENABLED", "true")]).starts_with("$IF_AUTHENTICATION_ENABLED: ")
    );
}

fn program(args: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_factory-server"));
    command.args(args).env_remove("RUST_LOG").envs(environment.iter().copied()).output().unwrap()
}

#[test]
fn the_program_checks_a_configuration_and_ends() {
    let reference = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/reference.yaml");
    let output = program(&["--config", reference, "--check-config"], &[("IF_LOG_LEVEL", "warn")]);
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(0), "{err}");
    let shown: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(shown["http"]["externalURL"], "https://factory.example/");
    assert_eq!(shown["log"]["level"], "warn");
    assert!(err.contains("`cache.oci.registry` has no effect: "), "{err}");

    let dir = tempfile::tempdir().unwrap();
    let wrong = |text: &str, environment: &[(&str, &str)]| {
        let path = dir.path().join("factory.yaml");
        std::fs::write(&path, text).unwrap();
        let output = program(&["--config", path.to_str().unwrap(), "--check-config"], environment);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(output.stdout.is_empty());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(wrong("htp: {a: b}", &[]).contains("there is no key `htp.a`"));
    assert!(wrong("", &[("IF_LOG_LEVEL", "a=b=c")]).contains("reading the log level `a=b=c`"));
    // Files that are named must be there and be what they should be.
    let pair = "http: {certFile: /none/cert.pem, keyFile: /none/key.pem}";
    assert!(wrong(pair, &[]).contains("reading `/none/cert.pem`"));
    let junk = dir.path().join("junk.pem");
    std::fs::write(&junk, "junk").unwrap();
    let junk = junk.to_str().unwrap();
    let error = wrong(&format!("http: {{certFile: {junk}, keyFile: {junk}}}"), &[]);
    assert!(error.contains("holds no certificate as PEM"), "{error}");
    let error = wrong("artifacts: {core: {registry: r.example}}", &[]);
    assert!(error.contains("set `containerSignature.publicKeyFile`"), "{error}");
    let error = wrong("secureBoot: {enabled: true, file: {signingCertPath: /none/cert.pem}}", &[]);
    assert!(error.contains("reading `/none/cert.pem`"), "{error}");
    assert!(Path::new(junk).exists());
}
