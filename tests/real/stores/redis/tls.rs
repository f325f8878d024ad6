//! A server that speaks TLS.

use clap::Parser;
use tower_video_cache::{RedisStore, Store, VideoCacheLayer, conformance};

use super::{BUSY, failed, value};
use crate::{
    servers::{
        authority::Authority,
        redis::{A_PORT, Redis},
    },
    stores::{film::Film, proxy::args::Args},
    trials::{Programs, tests},
};

tests! {
    TLS_PROGRAMS => on_one_thread:
        a_server_over_tls_keeps_the_contract,
        a_certificate_that_is_not_trusted_is_an_error_and_clients_get_the_inner_services_answer,
        a_proxy_keeps_its_films_over_tls;
    Authority::PROGRAMS => plain:
        root_certificates_that_are_none_or_for_no_tls_are_a_wrong_setting;
}

async fn a_server_over_tls_keeps_the_contract() {
    let server = Tls::start().await;
    for host in ["127.0.0.1", "localhost"] {
        let store = server.store(host).root_certificates(&server.authority.pem()).unwrap();
        conformance::check(&store).await;
        assert!(format!("{store:?}").len() < 200, "no certificates in {store:?}");
    }
}

async fn a_certificate_that_is_not_trusted_is_an_error_and_clients_get_the_inner_services_answer() {
    let server = Tls::start().await;
    let stranger = Authority::new();
    let public = server.store("127.0.0.1");
    let other = server.store("127.0.0.1").root_certificates(&stranger.pem()).unwrap();
    for store in [public, other] {
        let (error, time) = failed(store.get("m/a")).await;
        assert!(error.to_string().contains("certificate"), "{error}");
        assert!(time < BUSY, "{time:?}");
        failed(store.put("c/a/0", value(10))).await;
        let (film, layer) = (Film::of(300_000), VideoCacheLayer::new(store));
        film.watch(&layer).await;
        film.watch_part_or_all(&layer, 100_000..200_000).await;
        film.watch(&layer).await;
    }
    assert!(server.plain.keys("*").is_empty());
}

async fn a_proxy_keeps_its_films_over_tls() {
    let server = Tls::start().await;
    let at = format!("rediss://127.0.0.1:{}?roots={}", server.port, server.authority.path());
    let line = ["proxy", "--listen", "127.0.0.1:0", "--origin", "http://127.0.0.1:1", "--store", &at];
    let args = Args::try_parse_from(line).unwrap();
    let film = Film::of(300_000);
    film.watch(&args.open().await.unwrap().1).await;
    assert!(film.watch(&args.open().await.unwrap().1).await.contains("; hit"));
    assert!(!server.plain.keys("tvc:*").is_empty());
}

fn root_certificates_that_are_none_or_for_no_tls_are_a_wrong_setting() {
    let authority = Authority::new();
    let pem = authority.pem();
    let store = || RedisStore::new("rediss://127.0.0.1").unwrap();
    let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for none in [b"", &b"films"[..], broken] {
        assert!(store().root_certificates(none).unwrap_err().is_config());
    }
    store().root_certificates(&pem).unwrap();
    let cluster = |urls: [&str; 2]| RedisStore::cluster(urls).unwrap().root_certificates(&pem);
    cluster(["rediss://127.0.0.1:1", "rediss://127.0.0.1:2"]).unwrap();
    assert!(cluster(["redis://127.0.0.1:1", "redis://127.0.0.1:2"]).unwrap_err().is_config());
    let plain = RedisStore::new("redis://127.0.0.1").unwrap();
    assert!(plain.root_certificates(&pem).unwrap_err().is_config());
    let any = RedisStore::new("rediss://127.0.0.1#insecure").unwrap();
    assert!(any.root_certificates(&pem).unwrap_err().is_config());
    assert!(cluster(["rediss://127.0.0.1:1/#insecure"; 2]).unwrap_err().is_config());
    let watched = RedisStore::sentinel(["rediss://127.0.0.1"], "films").unwrap();
    assert!(watched.root_certificates(&pem).unwrap_err().is_config());
}

/// A server at two ports, one of which speaks TLS.
struct Tls {
    plain: Redis,
    port: u16,
    authority: Authority,
}

impl Tls {
    async fn start() -> Self {
        let authority = Authority::new();
        let files = [authority.certificate(), authority.key(), authority.path()];
        let [certificate, key, ca] = &files;
        let arguments = [
            ["--tls-port", A_PORT],
            ["--tls-cert-file", certificate],
            ["--tls-key-file", key],
            ["--tls-ca-cert-file", ca],
            ["--tls-auth-clients", "no"],
        ];
        let plain = Redis::start(arguments.as_flattened()).await;
        let port = plain.setting("tls-port").parse().unwrap();
        Self { plain, port, authority }
    }

    /// A store that trusts only public authorities.
    fn store(&self, host: &str) -> RedisStore {
        RedisStore::new(&format!("rediss://{host}:{}", self.port)).unwrap()
    }
}

const TLS_PROGRAMS: Programs = &["openssl", "redis-server", "redis-cli"];
