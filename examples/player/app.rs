//! The app: the page, each sample behind a cache in each mode, and the state of the caches.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Json, Router,
    extract::{Path, Request, State},
    http::{
        HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::{Html, IntoResponse, Response},
    routing::{any, delete, get},
};
use serde_json::{Map, json};
use tower::ServiceExt;
use tower_video_cache::Fill;

use super::{
    log::Log,
    stage::{Pace, Stage},
};

/// Serves the page, and each sample behind four caches that are empty at first.
pub(crate) fn router(pace: Pace) -> io::Result<Router> {
    let app = App { log: Log::default(), pace, stages: Mutex::default() };
    for sample in SAMPLES {
        for (mode, _) in MODES {
            app.raise(mode, sample)?;
        }
    }
    Ok(Router::new()
        .route("/", get(Html(include_str!("page.html"))))
        .route("/page.css", get(([(CONTENT_TYPE, "text/css")], include_str!("page.css"))))
        .route("/page.js", get(([(CONTENT_TYPE, "text/javascript")], include_str!("page.js"))))
        .route("/videos/{mode}/{sample}", get(play))
        .route("/seen/{sample}", get(seen))
        .route("/figures/{mode}/{sample}/{*page}", any(figures))
        .route("/figures/{mode}/{sample}/", get(figures))
        // The method is DELETE, because no page of another site may send it.
        .route("/stored/{mode}/{sample}", delete(empty))
        .route("/stored/{mode}/{sample}/{chunk}", delete(lose))
        .with_state(Arc::new(app)))
}

struct App {
    log: Log,
    pace: Pace,
    stages: Mutex<BTreeMap<(&'static str, &'static str), Arc<Stage>>>,
}

impl App {
    /// Gives a sample an empty cache in one mode. Clients of the previous cache, if any, keep using that.
    fn raise(&self, mode: &str, sample: &str) -> io::Result<StatusCode> {
        let mode = MODES.into_iter().find(|(name, _)| *name == mode);
        let sample = SAMPLES.into_iter().find(|name| *name == sample);
        let (Some((mode, fill)), Some(sample)) = (mode, sample) else {
            return Ok(StatusCode::NOT_FOUND);
        };
        let stage = Arc::new(Stage::new((mode, fill), sample, self.pace, self.log.clone())?);
        self.stages.lock().unwrap_or_else(PoisonError::into_inner).insert((mode, sample), stage);
        Ok(StatusCode::NO_CONTENT)
    }

    fn stage(&self, mode: &str, sample: &str) -> Option<Arc<Stage>> {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner).get(&(mode, sample)).cloned()
    }
}

async fn play(
    State(app): State<Arc<App>>,
    Path((mode, sample)): Path<(String, String)>,
    request: Request,
) -> Response {
    match app.stage(&mode, &sample) {
        Some(stage) => stage.service().oneshot(request).await.into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// The page of one of the caches for operators, and its purges.
async fn figures(
    State(app): State<Arc<App>>,
    Path(parameters): Path<BTreeMap<String, String>>,
    mut request: Request,
) -> Response {
    let parameter = |name| parameters.get(name).map_or("", String::as_str);
    let Some(stage) = app.stage(parameter("mode"), parameter("sample")) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let query = request.uri().query().map_or_else(String::new, |query| format!("?{query}"));
    let Ok(uri) = format!("/{}{query}", parameter("page")).parse() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    *request.uri_mut() = uri;
    match parameter("page") {
        "invalidate" => stage.purges().oneshot(request).await.into_response(),
        _ => stage.admin().oneshot(request).await.into_response(),
    }
}

/// The state of one sample, in all modes.
async fn seen(State(app): State<Arc<App>>, Path(sample): Path<String>) -> Response {
    let modes = MODES.into_iter().filter_map(|(mode, _)| {
        let stage = app.stage(mode, &sample)?;
        Some((mode.to_owned(), stage.map().report()))
    });
    let modes: Map<_, _> = modes.collect();
    let requests = app.log.of(&sample);
    let fresh = [(CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    (fresh, Json(json!({ "modes": modes, "requests": requests }))).into_response()
}

async fn empty(State(app): State<Arc<App>>, Path((mode, sample)): Path<(String, String)>) -> StatusCode {
    app.raise(&mode, &sample).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

async fn lose(
    State(app): State<Arc<App>>,
    Path((mode, sample, chunk)): Path<(String, String, u64)>,
) -> StatusCode {
    match app.stage(&mode, &sample) {
        Some(stage) if stage.lose(chunk).await => StatusCode::NO_CONTENT,
        _ => StatusCode::NOT_FOUND,
    }
}

const MODES: [(&str, Fill); 4] = [
    ("auto", Fill::auto()),
    ("whole", Fill::whole()),
    ("progressive", Fill::progressive()),
    ("sliced", Fill::sliced()),
];

const SAMPLES: [&str; 3] = ["moov-at-end.mp4", "moov-at-front.mp4", "clip.webm"];
