//! Certificates, and what does not speak TLS.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use knhk::api::Error;
use knhk::api::remote::{Certificate, Remote, Scope, Security};
use tokio_rustls::rustls::version::{TLS12, TLS13};

use super::client::{Client, trusting};
use super::{Running, short};

/// Has the certificate read again.
fn reload(running: &Running) -> Result<(), Error> {
    let in_use = running.remote().in_use();
    in_use.read().map(|tls| in_use.take(tls))
}

#[test]
fn a_certificate_of_our_own_is_made_once_and_kept_from_others() {
    let running = Running::start_tls(|_| {});
    let certificate = running.path("certificate.pem");
    let mode = |name: &str| fs::metadata(running.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("key.pem"), mode("certificate.pem")), (0o600, 0o600));
    let fingerprint = running.remote().in_use().fingerprint().unwrap();
    assert_eq!(fingerprint.len(), 32 * 3 - 1);
    for version in [&TLS12, &TLS13] {
        for name in ["localhost", "127.0.0.1"] {
            let config = trusting(&certificate, &[version]);
            let mut client = Client::with(running.remote().address(), config, name).unwrap();
            assert_eq!(client.ask("GET", "/health/live", None, b"").status, 200);
        }
    }
    let config = trusting(&certificate, &[&TLS13]);
    let error = Client::with(running.remote().address(), config, "elsewhere.example").err().unwrap();
    assert!(error.to_string().contains("certificate"), "{error}");
    // It stays.
    let text = fs::read(&certificate).unwrap();
    reload(&running).unwrap();
    assert_eq!(
        (fs::read(&certificate).unwrap(), running.remote().in_use().fingerprint()),
        (text, Some(fingerprint))
    );
    running.stop();
}

#[test]
fn a_certificate_is_read_anew_and_a_wrong_one_changes_nothing() {
    let other = Running::start_tls(|_| {});
    let running = Running::start_tls(|_| {});
    let (ours, theirs) = (running.path("certificate.pem"), other.path("certificate.pem"));
    let address = running.remote().address();
    let trusts = |certificate: &std::path::Path| {
        Client::with(address, trusting(certificate, &[&TLS13]), "localhost").is_ok()
    };
    let mut old = Client::tls(address, &ours);
    let (certificate, key) = (fs::read(&ours).unwrap(), fs::read(running.path("key.pem")).unwrap());
    // Certificate and key that do not belong together.
    fs::write(&ours, fs::read(&theirs).unwrap()).unwrap();
    let error = reload(&running).unwrap_err();
    assert!(matches!(error, Error::RemoteContent { .. }), "{error}");
    fs::write(&ours, "nonsense").unwrap();
    assert!(reload(&running).is_err());
    fs::write(&ours, &certificate).unwrap();
    assert!(trusts(&ours) && !trusts(&theirs));
    fs::write(&ours, fs::read(&theirs).unwrap()).unwrap();
    fs::write(running.path("key.pem"), fs::read(other.path("key.pem")).unwrap()).unwrap();
    reload(&running).unwrap();
    assert_eq!(running.remote().in_use().fingerprint(), other.remote().in_use().fingerprint());
    assert!(trusts(&theirs));
    assert_eq!(old.ask("GET", "/health/live", None, b"").status, 200, "open connections stay");
    drop(key);
    running.stop();
    other.stop();
}

#[test]
fn the_administrators_certificate_is_used_or_said_to_be_wrong() {
    let maker = Running::start_tls(|_| {});
    let (certificate, key) = (maker.path("certificate.pem"), maker.path("key.pem"));
    let files = |certificate: &std::path::Path, key: &std::path::Path| {
        let (certificate, key) = (certificate.to_owned(), key.to_owned());
        Security::Tls(Certificate::Files { certificate, key })
    };
    let running = Running::start_tls(|options| options.security = files(&certificate, &key));
    assert!(!running.path("certificate.pem").exists(), "none of our own is made");
    let token = running.token("one", Scope::Read);
    let mut client = Client::tls(running.remote().address(), &certificate);
    assert_eq!(client.ask("GET", "/health", Some(&token), b"").status, 200);
    running.stop();
    let missing = maker.path("missing.pem");
    for (certificate, key, code) in [
        (&missing, &key, 555),
        (&certificate, &missing, 555),
        (&key, &key, 556),
        (&certificate, &certificate, 556),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let options = knhk::api::remote::Options {
            address: "127.0.0.1:0".parse().unwrap(),
            security: files(certificate, key),
            folder: folder.path().to_owned(),
            secrets_dir: None,
            connections_max: 1,
            address_connections_max: 1,
            proxies: Vec::new(),
            requests_max: 1,
            http_workers: 1,
            times: knhk::api::remote::TIMES,
            limits: crate::api::LIMITS,
        };
        let error = Remote::bind(options).err().unwrap();
        assert_eq!(error.code().0, code, "{error}");
    }
    maker.stop();
}

#[test]
fn what_is_no_handshake_is_ended() {
    let times = short(|times| times.handshake = Duration::from_secs(2));
    let running = Running::start_tls(|options| options.times = times);
    let mut silent = running.connect();
    assert!(silent.is_closed());
    let mut plain = running.connect();
    plain.send("GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(plain.answer().is_none_or(|_| false), "no HTTP without TLS");
    let mut client = Client::tls(running.remote().address(), &running.path("certificate.pem"));
    assert_eq!(client.ask("GET", "/health/live", None, b"").status, 200);
    running.stop();
}
