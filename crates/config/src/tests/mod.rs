//! The whole way from text and environment to a configuration.

mod environment;
mod file;
mod secrets;
mod together;

use crate::load::load_in;
use crate::{GatewayConfig, Loaded, Problem, Problems};

/// A directory with a configuration file, and an environment.
struct Site {
    root: tempfile::TempDir,
    env: Vec<(String, String)>,
}

impl Site {
    fn with(text: &str) -> Self {
        let site = Self::without_file();
        std::fs::write(site.root.path().join("tyk.conf"), text).expect("file");
        site
    }

    fn without_file() -> Self {
        Self {
            root: tempfile::tempdir().expect("temporary directory"),
            env: Vec::new(),
        }
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    fn load(&self) -> Result<Loaded, Problems> {
        load_in(self.root.path(), None, self.env.clone())
    }

    fn config(&self) -> GatewayConfig {
        self.load()
            .unwrap_or_else(|problems| panic!("{problems}"))
            .config
    }

    fn warnings(&self) -> Vec<Problem> {
        self.load()
            .unwrap_or_else(|problems| panic!("{problems}"))
            .warnings
    }

    fn problems(&self) -> Problems {
        self.load()
            .expect_err("the configuration is wrong on purpose")
    }

    /// The only error there is.
    fn error(&self) -> Problem {
        let problems = self.problems();
        let errors: Vec<&Problem> = problems.errors().collect();
        assert_eq!(errors.len(), 1, "{problems}");
        errors[0].clone()
    }

    /// The only warning there is.
    fn warning(&self) -> Problem {
        let warnings = self.warnings();
        assert_eq!(warnings.len(), 1, "{warnings:#?}");
        warnings[0].clone()
    }
}

fn env_config(name: &str, value: &str) -> GatewayConfig {
    Site::with("{}").env(name, value).config()
}
