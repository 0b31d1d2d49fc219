use super::*;

fn proxies(variables: &[(&str, &str)]) -> Result<Proxies, Error> {
    let get = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
    Proxies::from_variables(get)
}

/// The proxy of `uri`, and the login for it.
fn found(proxies: &Proxies, uri: &str) -> Option<(String, Option<String>)> {
    let proxy = proxies.find(&uri.parse().unwrap())?;
    let login = proxy.authorization.as_ref().map(|value| value.to_str().unwrap().to_owned());
    Some((proxy.uri.to_string(), login))
}

#[test]
fn the_scheme_chooses_the_proxy_and_all_stands_in() {
    let (http, https) = ("http://r.example/", "https://r.example/");
    let of = |variables: &[(&str, &str)], uri| found(&proxies(variables).unwrap(), uri).map(|(uri, _)| uri);
    let both = [("HTTPS_PROXY", "http://a:1"), ("http_proxy", "b:2"), ("ALL_PROXY", "https://c")];
    assert_eq!(of(&both, https).as_deref(), Some("http://a:1/"));
    assert_eq!(of(&both, http).as_deref(), Some("http://b:2/"));
    assert_eq!(of(&both[2..], http).as_deref(), Some("https://c:443/"));
    assert_eq!(of(&[("HTTPS_PROXY", ""), ("https_proxy", "d")], https).as_deref(), Some("http://d:80/"));
    assert_eq!(of(&[("HTTPS_PROXY", "u"), ("https_proxy", "l")], https).as_deref(), Some("http://u:80/"));
    assert_eq!(of(&[("HTTPS_PROXY", "[::1]:3128")], https).as_deref(), Some("http://[::1]:3128/"));
    assert_eq!(of(&[("HTTP_PROXY", "a")], https), None);
    assert_eq!(of(&[("HTTP_PROXY", "a"), ("REQUEST_METHOD", "GET")], http), None, "a header of a request");
    assert_eq!(of(&[], http), None);
}

#[test]
fn the_login_is_sent_and_not_shown() {
    let proxies = proxies(&[("ALL_PROXY", "http://us%40er:p%3ass@proxy.example:3128")]).unwrap();
    let (_, login) = found(&proxies, "https://r.example/").unwrap();
    assert_eq!(login.unwrap(), format!("Basic {}", STANDARD.encode("us@er:p:ss")));
    let shown =
        format!("{proxies:?}{:?}", proxies.find(&"https://r.example/".parse().unwrap()).unwrap().place());
    assert!(
        shown.contains("proxy.example:3128") && !shown.contains("us@er") && !shown.contains("p%3a"),
        "{shown}"
    );
}

#[test]
fn what_is_no_proxy_is_an_error_without_its_password() {
    for value in
        ["socks5://u:secret@p", "ftp://secret", "http://", "http://u:secret@", "http://secret:port", "a b"]
    {
        let error = proxies(&[("https_proxy", value)]).unwrap_err();
        assert!(matches!(error, Error::BadProxy { variable: "HTTPS_PROXY", .. }), "{value}");
        assert!(!format!("{error} {error:?}").contains("secret"), "{value}");
    }
}

#[test]
fn exceptions_are_hosts_and_what_is_below_them_addresses_and_ports() {
    let table: &[(&str, &[&str], &[&str])] = &[
        ("*", &["r.example", "10.0.0.1", "[2001:db8::1]"], &[]),
        (
            "example.com",
            &["example.com", "EXAMPLE.com", "a.b.example.com", "example.com:5000", "example.com."],
            &["notexample.com", "example.com.evil", "com"],
        ),
        (".example.com", &["a.example.com"], &["example.com", "aexample.com"]),
        ("*.example.com", &["a.example.com"], &["example.com"]),
        ("a.example:5000", &["a.example:5000", "b.a.example:5000"], &["a.example", "a.example:5001"]),
        ("a.example:443", &["a.example"], &["a.example:80"]),
        ("10.0.0.0/8", &["10.1.2.3", "10.1.2.3:5000"], &["11.0.0.1", "10.example"]),
        ("10.1.2.3", &["10.1.2.3"], &["10.1.2.30", "10.1.2.4"]),
        ("10.1.2.3:5000", &["10.1.2.3:5000"], &["10.1.2.3"]),
        ("2001:db8::/32", &["[2001:db8::5]"], &["[2001:db9::5]"]),
        ("[2001:db8::5]:5000", &["[2001:db8::5]:5000"], &["[2001:db8::5]"]),
        ("2001:db8::5", &["[2001:db8::5]:5000"], &["[2001:db8::6]"]),
        ("a.example, b.example\tc.example,,", &["a.example", "b.example", "c.example"], &["d.example"]),
        ("a.example:port, :, ., 10.0.0.0/99", &[], &["a.example", "10.0.0.1"]),
        ("", &[], &["r.example"]),
    ];
    for (list, direct, proxied) in table {
        let proxies = proxies(&[("ALL_PROXY", "p"), ("NO_PROXY", list)]).unwrap();
        let goes_direct = |host: &str| found(&proxies, &format!("https://{host}/v2/")).is_none();
        assert!(direct.iter().all(|host| goes_direct(host)), "{list}: {direct:?}");
        assert!(!proxied.iter().any(|host| goes_direct(host)), "{list}: {proxied:?}");
    }
}

#[test]
fn this_machine_is_never_asked_through_a_proxy() {
    let proxies = proxies(&[("ALL_PROXY", "p")]).unwrap();
    for host in
        ["localhost", "LOCALHOST:5000", "127.0.0.1", "127.9.9.9:5000", "[::1]:5000", "[::ffff:127.0.0.1]"]
    {
        assert_eq!(found(&proxies, &format!("http://{host}/")), None, "{host}");
    }
    for host in ["localhost.example", "128.0.0.1", "[::2]"] {
        assert!(found(&proxies, &format!("http://{host}/")).is_some(), "{host}");
    }
}
