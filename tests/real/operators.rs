//! What an operator has: a Prometheus that scrapes the figures, its rules, and the dashboard.
//!
//! Needs `prometheus` and `promtool` (Debian: `prometheus`).

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    net::{Ipv4Addr, SocketAddr, TcpListener as StdListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use axum::Router;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::Value;
use tokio::{
    net::TcpListener,
    time::{Instant, sleep},
};
use tower::ServiceExt;
use tower_http::services::ServeDir;
use tower_video_cache::{AdminService, CacheStatus, MokaStore, VideoCacheLayer};

use crate::{folder::Folder, trials::tests};

tests! {
    &["prometheus", "promtool"] => on_threads:
        a_prometheus_scrapes_the_figures_and_answers_every_question_of_the_dashboard_and_the_rules;
    &["promtool"] => plain:
        promtool_finds_no_fault_with_the_rules;
}

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs");

fn promtool_finds_no_fault_with_the_rules() {
    let checked =
        Command::new("promtool").args(["check", "rules", &format!("{DOCS}/alerts.yml")]).output().unwrap();
    let said =
        String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success() && said.contains("5 rules found"), "{said}");
}

async fn a_prometheus_scrapes_the_figures_and_answers_every_question_of_the_dashboard_and_the_rules() {
    let folder = Folder::new();
    let videos = folder.as_ref().join("videos");
    fs::create_dir(&videos).unwrap();
    fs::write(videos.join("a.mp4"), vec![7; 300_000]).unwrap();
    let layer = VideoCacheLayer::new(MokaStore::new(64 << 20).unwrap());
    let layer = layer.cache_status(CacheStatus::named("edge").unwrap());
    let operators = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let scraped = operators.local_addr().unwrap();
    let admin = Router::new().fallback_service(AdminService::new(layer.handle()));
    tokio::spawn(async move { axum::serve(operators, admin).await });
    let app = Router::new().fallback_service(ServeDir::new(&videos)).layer(layer.clone());

    let prometheus = Prometheus::start(folder.as_ref(), scraped);
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        for _ in 0..5 {
            let request = Request::get("/a.mp4").body(axum::body::Body::empty()).unwrap();
            let body = app.clone().oneshot(request).await.unwrap().into_body();
            assert_eq!(body.collect().await.unwrap().to_bytes().len(), 300_000);
        }
        let hits = prometheus.ask("rate(video_cache_requests_total{outcome=\"hit\"}[10s])").await;
        if hits.is_some_and(|hits| hits["data"]["result"].as_array().is_some_and(|all| !all.is_empty())) {
            break;
        }
        assert!(Instant::now() < deadline, "two scrapes within a minute");
        sleep(Duration::from_millis(200)).await;
    }

    // Each metric of the figures is a metric of Prometheus by that name.
    let mut text = String::new();
    layer.handle().stats().open_metrics("edge", &mut text).unwrap();
    let told: BTreeSet<_> = text.lines().filter(|line| !line.starts_with('#')).map(name).collect();
    let known = prometheus.ask_path("label/__name__/values").await.unwrap();
    let known: BTreeSet<_> =
        known["data"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let missing: Vec<_> = told.iter().filter(|name| !known.contains(*name)).collect();
    assert!(missing.is_empty(), "{missing:?}");

    let dashboard: Value =
        serde_json::from_str(&fs::read_to_string(format!("{DOCS}/grafana.json")).unwrap()).unwrap();
    let targets =
        dashboard["panels"].as_array().unwrap().iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let mut asked = 0;
    for target in targets {
        let expression = target["expr"].as_str().unwrap();
        let expression = expression.replace("$__rate_interval", "10s").replace("$cache", "edge");
        let answer = prometheus.ask(&expression).await.unwrap();
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        let is_of_trouble = expression.contains("refusals_total");
        let has_result = !answer["data"]["result"].as_array().unwrap().is_empty();
        assert!(has_result || is_of_trouble, "{expression}: {answer}");
        asked += 1;
    }
    assert!(asked > 20, "{asked}");
    let rules = prometheus.ask_path("rules").await.unwrap();
    let rules: Vec<_> = rules["data"]["groups"][0]["rules"].as_array().unwrap().clone();
    assert_eq!(rules.len(), 5);
    for rule in rules {
        assert_ne!(rule["state"], "firing", "{rule}");
        assert_ne!(rule["health"], "err", "{rule}");
    }
}

/// The name of the metric in a line.
fn name(line: &str) -> &str {
    line.split('{').next().unwrap()
}

/// A Prometheus that scrapes one address, and is ended when it is dropped.
struct Prometheus {
    process: Child,
    address: SocketAddr,
}

impl Prometheus {
    fn start(folder: &Path, scraped: SocketAddr) -> Self {
        // Prometheus does not tell a port that the system chose.
        let address = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let settings = folder.join("prometheus.yml");
        let mut file = fs::File::create(&settings).unwrap();
        write!(
            file,
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{DOCS}/alerts.yml]\nscrape_configs: \
             [{{job_name: video, static_configs: [{{targets: ['{scraped}']}}]}}]\n"
        )
        .unwrap();
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", settings.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, address }
    }

    async fn ask(&self, expression: &str) -> Option<Value> {
        let query: String = form(expression);
        self.ask_path(&format!("query?query={query}")).await
    }

    /// The answer, if Prometheus answers already.
    async fn ask_path(&self, path: &str) -> Option<Value> {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let request = Request::get(format!("http://{}/api/v1/{path}", self.address));
        let answer = client.request(request.body(Empty::<Bytes>::new()).unwrap()).await.ok()?;
        serde_json::from_slice(&answer.into_body().collect().await.ok()?.to_bytes()).ok()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // The call does nothing if the process has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The text as a value in a query.
fn form(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
