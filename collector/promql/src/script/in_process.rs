//! The engine of this process behind the interface of the scripts.

use super::{Answer, PromEngine};
use crate::annotations::Severity;
use crate::engine::{Engine, QueryRange};
use crate::labels::Labels;
use crate::memory::{MemorySample, MemorySource};
use crate::options::{EngineOptions, Language, QueryOptions};
use crate::value::QueryOutput;

/// The options that the scripts of Prometheus are written for: everything experimental on.
#[must_use]
pub fn script_options() -> EngineOptions {
    EngineOptions {
        delayed_name_removal: true,
        use_start_timestamps: true,
        language: Language::all(),
        ..EngineOptions::default()
    }
}

/// An engine with samples in memory.
pub struct InProcess {
    engine: Engine,
    source: MemorySource,
}

impl InProcess {
    /// An engine with these options and no samples.
    #[must_use]
    pub fn new(options: EngineOptions) -> Self {
        Self { engine: Engine::new(options), source: MemorySource::new() }
    }
}

fn answer(output: QueryOutput, query: &str) -> Answer {
    Answer {
        warnings: output.annotations.texts(Severity::Warning, query),
        infos: output.annotations.texts(Severity::Info, query),
        value: output.value,
    }
}

impl PromEngine for InProcess {
    fn clear(&mut self) -> Result<(), String> {
        self.source.clear();
        Ok(())
    }

    fn load(&mut self, series: &[(Labels, Vec<MemorySample>)]) -> Result<(), String> {
        for (labels, samples) in series {
            self.source.append(labels, samples.clone());
        }
        Ok(())
    }

    fn instant(&self, query: &str, t_ms: i64) -> Result<Answer, String> {
        let output = self.engine.instant(&self.source, query, t_ms, &QueryOptions::default());
        output.map(|output| answer(output, query)).map_err(|error| error.to_string())
    }

    fn range(&self, query: &str, range: QueryRange) -> Result<Answer, String> {
        let output = self.engine.range(&self.source, query, range, &QueryOptions::default());
        output.map(|output| answer(output, query)).map_err(|error| error.to_string())
    }
}
