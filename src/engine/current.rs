//! [`Current`]: the engine with the settings of now.

use std::{
    mem,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use http::request;

use super::{config::Config, state::Engine};
use crate::{error::Error, policy::Policy, settings::Fill, store::ErasedStore};

/// A running cache, whose settings may change.
///
/// Each request takes the engine once, and keeps it to its end. So no request sees two settings.
pub(crate) struct Current {
    engines: RwLock<Engines>,
}

struct Engines {
    engine: Arc<Engine>,
    /// The same engine with each fill that a rule sets.
    by_fill: Vec<(Fill, Arc<Engine>)>,
}

impl Engines {
    fn of(engine: Engine) -> Self {
        let mut by_fill: Vec<(Fill, _)> = Vec::new();
        for fill in engine.config.policy.fills() {
            if by_fill.iter().all(|(other, _)| *other != fill) {
                let config = Config { fill, ..engine.config.clone() };
                by_fill.push((fill, Arc::new(engine.with(config))));
            }
        }
        Self { engine: Arc::new(engine), by_fill }
    }
}

impl Current {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engines: RwLock::new(Engines::of(engine)) }
    }

    pub(crate) fn engine(&self) -> Arc<Engine> {
        Arc::clone(&self.read().engine)
    }

    /// The engine with the fill that the rules set for this request.
    pub(crate) fn engine_for(&self, request: &request::Parts) -> Arc<Engine> {
        let engines = self.read();
        let engine = &engines.engine;
        if engines.by_fill.is_empty() {
            return Arc::clone(engine);
        }
        let fill = engine.config.policy.fill_for(request);
        let found = engines.by_fill.iter().find(|(other, _)| Some(*other) == fill);
        Arc::clone(found.map_or(engine, |(_, with_it)| with_it))
    }

    pub(crate) fn set_policy(&self, policy: Policy) {
        let with_it = |before: &Engine| Ok(before.with(Config { policy, ..before.config.clone() }));
        // This change is never refused.
        let _ = self.change(with_it);
    }

    /// Changes the settings to these, for a cache on this store.
    ///
    /// # Errors
    ///
    /// The first setting that cannot change while the cache runs. Then all settings stay.
    pub(crate) fn reconfigure(&self, store: &Arc<dyn ErasedStore>, config: Config) -> Result<(), Error> {
        self.change(|before| {
            if !Arc::ptr_eq(store, &before.store) {
                return Err(Error::config("a running cache keeps its store"));
            }
            before.config.may_become(&config)?;
            Ok(before.with(config))
        })
    }

    fn change(&self, make: impl FnOnce(&Engine) -> Result<Engine, Error>) -> Result<(), Error> {
        // The guard keeps other changes out, so that none is lost.
        let mut engines = self.engines.write().unwrap_or_else(PoisonError::into_inner);
        let next = Engines::of(make(&engines.engine)?);
        let before = mem::replace(&mut *engines, next);
        drop(engines);
        // Not under the guard: this may drop functions of the application's, and what they own may ask the cache.
        drop(before);
        Ok(())
    }

    fn read(&self) -> RwLockReadGuard<'_, Engines> {
        self.engines.read().unwrap_or_else(PoisonError::into_inner)
    }
}
