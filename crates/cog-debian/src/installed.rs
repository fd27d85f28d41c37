//! Which packages a system has, by its own account: the database of `dpkg`, whoever made it.
//!
//! It is foreign text: what cannot be understood ends the list and is no error.

use super::stanza::Stanzas;

/// A package that is installed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct InstalledPackage {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The processor it is for, or `all`.
    pub architecture: String,
    /// Who looks after it, with an address.
    pub maintainer: Option<String>,
}

/// The installed packages in the text of a `status` file, sorted. Images without `dpkg` have one file for each package,
/// which says nothing of its state.
pub fn installed(status: &[u8]) -> Vec<InstalledPackage> {
    const FIELDS: [&str; 5] = ["Package", "Version", "Architecture", "Maintainer", "Status"];
    let mut stanzas = Stanzas::new(status);
    let wanted = |name: &str| FIELDS.iter().any(|field| field.eq_ignore_ascii_case(name));
    let mut found = Vec::new();
    while let Ok(Some(stanza)) = stanzas.next_stanza(wanted) {
        let field = |name| stanza.field(name).map(str::to_owned);
        let state = stanza.field("Status").unwrap_or("installed");
        if !state.ends_with("installed") || state.ends_with("not-installed") {
            continue;
        }
        if let (Some(name), Some(version)) = (field("Package"), field("Version")) {
            found.push(InstalledPackage {
                name,
                version,
                architecture: field("Architecture").unwrap_or_default(),
                maintainer: field("Maintainer"),
            });
        }
    }
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(status: &str) -> Vec<String> {
        let found = installed(status.as_bytes());
        found.into_iter().map(|one| one.name).collect()
    }

    #[test]
    fn only_what_is_installed_counts() {
        let status = "Package: zlib1g\nStatus: install ok installed\nVersion: 1:1.2\nArchitecture: amd64\n\n\
            Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
            Package: never\nStatus: unknown ok not-installed\nVersion: 1\n\n\
            Package: base-files\nVersion: 12\nDescription: one\n two\n";
        assert_eq!(names(status), ["base-files", "zlib1g"]);
    }

    #[test]
    fn what_is_no_database_ends_the_list() {
        assert_eq!(names("Package: a\nVersion: 1\n\n\u{0}nonsense\n"), ["a"]);
        assert_eq!(names(""), Vec::<String>::new());
        assert_eq!(names("Package: nameless-version\n"), Vec::<String>::new());
    }
}
