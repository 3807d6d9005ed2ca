//! What the classes of a stream's models are called.

/// What a class without a name is called.
const UNNAMED: &str = "object";

/// The class names of all models of a stream, one behind the other.
#[derive(Debug)]
pub(crate) struct ClassNames {
    names: Vec<String>,
    /// Where the names of each model begin, and how many there are.
    models: Vec<(usize, usize)>,
}

impl ClassNames {
    /// Names by model and class.
    pub(crate) fn new(models: &[Vec<String>]) -> Self {
        let mut names = Vec::new();
        let place = |model: &Vec<String>| {
            let first = names.len();
            names.extend(model.iter().cloned());
            (first, model.len())
        };
        let models = models.iter().map(place).collect();
        names.push(UNNAMED.to_owned());
        Self { names, models }
    }

    /// All names; the last is that of classes without one.
    pub(crate) fn all(&self) -> &[String] {
        &self.names
    }

    /// Where the name of a class stands in [`ClassNames::all`].
    pub(crate) fn index(&self, model: u16, class: u16) -> u16 {
        let named = self
            .models
            .get(usize::from(model))
            .filter(|(_, count)| usize::from(class) < *count)
            .map(|(first, _)| first + usize::from(class));
        let index = named.unwrap_or(self.names.len() - 1);
        u16::try_from(index).unwrap_or(u16::MAX)
    }

    /// The name that stands there.
    pub(crate) fn name(&self, index: u16) -> &str {
        self.names
            .get(usize::from(index))
            .map_or(UNNAMED, String::as_str)
    }
}
