//! Reads from the code which files of `src` use which.
//!
//! An import counts, and so does a path in the code; re-exports are followed to the definition. A type with methods in
//! several files ties these files by its method calls: a file that calls a method uses the file with that method's
//! body.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path as FilePath,
};

use syn::{
    Attribute, Expr, ExprMethodCall, File, ImplItem, Item, ItemImpl, Macro, Member, Path, Token, Type,
    UseTree, Visibility,
    parse::Parser,
    punctuated::Punctuated,
    visit::{self, Visit},
};

/// For each file, the files that it uses, and the names that tie them.
pub(super) type Imports = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// The segments of a path from the crate's root on, without `crate`.
type Segments = Vec<String>;

/// Reads all of `src` but what is for tests alone.
pub(super) fn imports(src: &FilePath) -> Imports {
    let house = House::read(src);
    let scattered = house.scattered();
    let mut imports = Imports::new();
    for file in house.files.values() {
        let mut reader =
            Reader { house: &house, file, scattered: &scattered, own: None, used: Imports::new() };
        for used in file.uses.iter().filter(|used| !used.is_re_export) {
            reader.tie(&used.target);
        }
        for item in &file.items {
            reader.visit_item(item);
        }
        imports.extend(reader.used);
        imports.entry(file.name.clone()).or_default();
    }
    imports
}

/// The groups of files that use each other in a circle, each as lines that say what ties them.
pub(super) fn circles(imports: &Imports) -> Vec<String> {
    let reached: BTreeMap<_, _> = imports.keys().map(|name| (name, reached_from(name, imports))).collect();
    let mut circles = BTreeMap::new();
    for (name, reaches) in &reached {
        let ring: Vec<_> = reaches.iter().filter(|other| reached[other].contains(*name)).collect();
        if ring.len() > 1 {
            circles.entry(ring.clone()).or_insert_with(|| ties(&ring, imports));
        }
    }
    circles.into_values().collect()
}

fn reached_from(name: &str, imports: &Imports) -> BTreeSet<String> {
    let (mut reached, mut to_see) = (BTreeSet::new(), vec![name.to_owned()]);
    while let Some(name) = to_see.pop() {
        let used = imports.get(&name).into_iter().flat_map(BTreeMap::keys);
        to_see.extend(used.filter(|used| reached.insert((*used).clone())).cloned());
    }
    reached
}

fn ties(ring: &[&String], imports: &Imports) -> String {
    let within = |name: &&String| imports[*name].iter().filter(|(used, _)| ring.contains(used));
    let line =
        |name: &&String, used: &String, names: &BTreeSet<String>| format!("{name} uses {used}: {names:?}\n");
    ring.iter().flat_map(|name| within(name).map(move |(used, names)| line(name, used, names))).collect()
}

#[derive(Default)]
struct House {
    files: BTreeMap<Segments, Source>,
}

struct Source {
    name: String,
    module: Segments,
    /// Without those for tests.
    items: Vec<Item>,
    names: BTreeSet<String>,
    modules: BTreeSet<String>,
    uses: Vec<Used>,
}

/// One name of a `use`.
struct Used {
    /// Its name in this file.
    alias: String,
    target: Segments,
    is_glob: bool,
    /// It leads others on, and is no use by this file.
    is_re_export: bool,
}

impl House {
    fn read(src: &FilePath) -> Self {
        let mut house = Self::default();
        house.enter(src, &src.join("lib.rs"), &[]);
        house
    }

    /// Follows `mod` lines from the root, so that modules of tests are never met.
    fn enter(&mut self, src: &FilePath, path: &FilePath, module: &[String]) {
        let code = fs::read_to_string(path).unwrap();
        let File { items, .. } = syn::parse_file(&code).unwrap();
        let items: Vec<_> = items.into_iter().filter(|item| !is_for_tests(attributes(item))).collect();
        let mut source = Source {
            name: path.strip_prefix(src).unwrap().to_str().unwrap().to_owned(),
            names: items.iter().filter_map(name).collect(),
            modules: BTreeSet::new(),
            uses: Vec::new(),
            items,
            module: module.to_vec(),
        };
        for item in &source.items {
            if let Item::Mod(inner) = item {
                if inner.content.is_none() {
                    source.modules.insert(inner.ident.to_string());
                }
            }
        }
        for item in &source.items {
            if let Item::Use(used) = item {
                let mut leaves = Vec::new();
                expand(&used.tree, Segments::new(), &mut leaves);
                for (alias, path, is_glob) in leaves {
                    if let Some(target) = absolute(&source, &path) {
                        let is_re_export = !matches!(used.vis, Visibility::Inherited);
                        source.uses.push(Used { alias, target, is_glob, is_re_export });
                    }
                }
            }
        }
        let folder = if path.ends_with("lib.rs") || path.ends_with("mod.rs") {
            path.parent().unwrap().to_owned()
        } else {
            path.with_extension("")
        };
        for name in source.modules.clone() {
            let alone = folder.join(format!("{name}.rs"));
            let path = if alone.exists() { alone } else { folder.join(&name).join("mod.rs") };
            self.enter(src, &path, &[module, &[name]].concat());
        }
        self.files.insert(module.to_vec(), source);
    }

    /// The file and the name of a definition.
    fn definition(&self, path: &[String]) -> Option<(&Source, String)> {
        let (length, file) =
            (0..=path.len()).rev().find_map(|length| Some((length, self.files.get(&path[..length])?)))?;
        let (name, rest) = path[length..].split_first()?;
        if file.names.contains(name) {
            return Some((file, name.clone()));
        }
        file.uses.iter().find_map(|used| {
            let rest = if used.is_glob { &path[length..] } else { rest };
            let target = [&used.target, rest].concat();
            (used.is_glob || used.alias == *name).then(|| self.definition(&target)).flatten()
        })
    }

    /// The file that defines the type of this name in `file`.
    fn home(&self, file: &Source, name: &str) -> Option<TypeId> {
        let home = if file.names.contains(name) {
            &file.name
        } else {
            let used = file.uses.iter().find(|used| used.alias == name)?;
            &self.definition(&used.target)?.0.name
        };
        Some((home.clone(), name.to_owned()))
    }

    /// The file with the body of each method, of the types that have methods in several files.
    fn scattered(&self) -> Methods {
        let mut methods = Methods::new();
        let mut homes: BTreeMap<TypeId, BTreeSet<&str>> = BTreeMap::new();
        for file in self.files.values() {
            for item in &file.items {
                let Item::Impl(block) = item else { continue };
                let (Some(of), None) = (type_name(&block.self_ty), &block.trait_) else { continue };
                let Some(of) = self.home(file, &of) else { continue };
                homes.entry(of.clone()).or_default().insert(&file.name);
                for method in &block.items {
                    if let ImplItem::Fn(method) = method {
                        methods.insert((of.clone(), method.sig.ident.to_string()), file.name.clone());
                    }
                }
            }
        }
        methods.retain(|(of, _), _| homes[of].len() > 1);
        methods
    }
}

/// A type: the file that defines it, and its name.
type TypeId = (String, String);

/// The file with the body of each method.
type Methods = BTreeMap<(TypeId, String), String>;

struct Reader<'a> {
    house: &'a House,
    file: &'a Source,
    scattered: &'a Methods,
    /// The type whose methods are being read.
    own: Option<TypeId>,
    used: Imports,
}

impl Reader<'_> {
    fn tie(&mut self, path: &[String]) {
        if let Some((file, name)) = self.house.definition(path) {
            let file = file.name.clone();
            self.note(file, name);
        }
    }

    fn note(&mut self, file: String, name: String) {
        if file != self.file.name {
            let used = self.used.entry(self.file.name.clone()).or_default();
            used.entry(file).or_default().insert(name);
        }
    }

    /// A call of a method that may have its body elsewhere.
    fn note_method(&mut self, of: &TypeId, method: &str) {
        if let Some(file) = self.scattered.get(&(of.clone(), method.to_owned())) {
            self.note(file.clone(), format!("{}::{method}", of.1));
        }
    }

    /// The type of a receiver: the own one for `self`; else the type with methods in several files that the receiver is named
    /// after, as `engine` and `self.engine` are.
    fn type_of(&self, receiver: &Expr) -> Option<TypeId> {
        let name = match receiver {
            Expr::Path(path) if path.path.is_ident("self") => return self.own.clone(),
            Expr::Path(path) => path.path.segments.last()?.ident.to_string(),
            Expr::Field(field) => match &field.member {
                Member::Named(name) => name.to_string(),
                Member::Unnamed(_) => return None,
            },
            Expr::MethodCall(call) => call.method.to_string(),
            Expr::Reference(reference) => return self.type_of(&reference.expr),
            Expr::Paren(paren) => return self.type_of(&paren.expr),
            _ => return None,
        };
        let is_named = |of: &&TypeId| of.1.to_lowercase() == name.replace('_', "");
        self.scattered.keys().map(|(of, _)| of).find(is_named).cloned()
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item_impl(&mut self, block: &'ast ItemImpl) {
        self.own = type_name(&block.self_ty).and_then(|of| self.house.home(self.file, &of));
        visit::visit_item_impl(self, block);
        self.own = None;
    }

    fn visit_item_use(&mut self, _: &'ast syn::ItemUse) {}

    fn visit_path(&mut self, path: &'ast Path) {
        let segments: Segments = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if let [of, method] = &segments[..] {
            let of = if of == "Self" { self.own.clone() } else { self.house.home(self.file, of) };
            if let Some(of) = of {
                self.note_method(&of, method);
            }
        }
        if segments.len() > 1 {
            if let Some(target) = absolute(self.file, &segments) {
                self.tie(&target);
            }
        }
        visit::visit_path(self, path);
    }

    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        if let Some(of) = self.type_of(&call.receiver) {
            self.note_method(&of, &call.method.to_string());
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, mac: &'ast Macro) {
        let arguments = Punctuated::<Expr, Token![,]>::parse_terminated.parse2(mac.tokens.clone());
        let mut within = Reader { used: Imports::new(), own: self.own.clone(), ..*self };
        for argument in arguments.iter().flatten() {
            within.visit_expr(argument);
        }
        for (file, name) in within
            .used
            .into_values()
            .flatten()
            .flat_map(|(file, names)| names.into_iter().map(move |name| (file.clone(), name)))
        {
            self.note(file, name);
        }
        visit::visit_macro(self, mac);
    }
}

/// The path from the crate's root on; `None` for a path into another crate.
fn absolute(file: &Source, path: &[String]) -> Option<Segments> {
    let (first, mut rest) = path.split_first()?;
    let mut base = file.module.clone();
    match first.as_str() {
        "crate" => Some(rest.to_vec()),
        "self" => Some([&base, rest].concat()),
        "super" => {
            base.pop();
            while let Some((_, after)) = rest.split_first().filter(|(next, _)| *next == "super") {
                base.pop();
                rest = after;
            }
            Some([&base, rest].concat())
        }
        name if file.modules.contains(name) => Some([&base, path].concat()),
        name => {
            let used = file.uses.iter().find(|used| used.alias == name && !used.is_glob)?;
            Some([&used.target, rest].concat())
        }
    }
}

fn expand(tree: &UseTree, mut before: Segments, leaves: &mut Vec<(String, Segments, bool)>) {
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            expand(&path.tree, before, leaves);
        }
        UseTree::Group(group) => group.items.iter().for_each(|tree| expand(tree, before.clone(), leaves)),
        UseTree::Glob(_) => leaves.push((String::new(), before, true)),
        UseTree::Name(name) if name.ident == "self" => {
            leaves.push((before.last().cloned().unwrap_or_default(), before, false));
        }
        UseTree::Name(name) => {
            before.push(name.ident.to_string());
            leaves.push((name.ident.to_string(), before, false));
        }
        UseTree::Rename(rename) => {
            if rename.ident != "self" {
                before.push(rename.ident.to_string());
            }
            leaves.push((rename.rename.to_string(), before, false));
        }
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Whether an attribute keeps it out of what users compile.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().filter_map(|attribute| attribute.meta.require_list().ok()).any(|list| {
        let condition = list.tokens.to_string();
        list.path.is_ident("cfg") && (condition == "test" || condition.contains("fuzzing"))
    })
}

fn name(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => {
            return item.ident.as_ref().map(ToString::to_string).or_else(|| in_pin_project(item));
        }
        Item::Mod(item) if item.content.is_some() => &item.ident,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}

/// The type that `pin_project!` is given.
fn in_pin_project(item: &syn::ItemMacro) -> Option<String> {
    let tokens = item.mac.tokens.to_string();
    let mut words = tokens.split_whitespace().skip_while(|word| *word != "struct" && *word != "enum");
    words.nth(1).map(|word| word.trim_end_matches(['<', '{']).to_owned())
}

fn type_name(of: &Type) -> Option<String> {
    let Type::Path(path) = of else { return None };
    path.path.segments.last().map(|segment| segment.ident.to_string())
}

#[test]
fn a_circle_is_found_whatever_ties_it() {
    let circle = |what: &str, files: &[(&str, &str)]| {
        let src = FilePath::new(env!("CARGO_TARGET_TMPDIR")).join("circles").join(what.replace(' ', "-"));
        let _ = fs::remove_dir_all(&src);
        fs::create_dir_all(&src).unwrap();
        let modules = files.iter().map(|(name, _)| format!("mod {};", name.trim_end_matches(".rs")));
        fs::write(src.join("lib.rs"), modules.collect::<Vec<_>>().join("\n")).unwrap();
        for (name, code) in files {
            fs::write(src.join(name), code).unwrap();
        }
        circles(&imports(&src)).join("--\n")
    };
    for (what, files, expected) in [
        (
            "imports",
            &[("a.rs", "use crate::b::B; struct A;"), ("b.rs", "use super::a::A; struct B;")][..],
            "a.rs uses b.rs: {\"B\"}\nb.rs uses a.rs: {\"A\"}\n",
        ),
        (
            "a path in the code",
            &[("a.rs", "fn a() { crate::b::b() }"), ("b.rs", "pub fn b() { assert!(crate::a::a()) }")],
            "a.rs uses b.rs: {\"b\"}\nb.rs uses a.rs: {\"a\"}\n",
        ),
        (
            "a re-export",
            &[
                ("a.rs", "use crate::door::B; struct A;"),
                ("b.rs", "use crate::a::A; pub struct B;"),
                ("door.rs", "pub(crate) use crate::b::*;"),
            ],
            "a.rs uses b.rs: {\"B\"}\nb.rs uses a.rs: {\"A\"}\n",
        ),
        (
            "methods of one type in two files",
            &[
                ("engine.rs", "pub struct Engine;"),
                ("fill.rs", "use crate::engine::Engine; impl Engine { fn fill(&self) { self.serve() } }"),
                (
                    "serve.rs",
                    "use crate::engine::Engine; impl Engine { fn serve(&self) {} } fn on(engine: &Engine) { engine.fill() }",
                ),
            ],
            "fill.rs uses serve.rs: {\"Engine::serve\"}\nserve.rs uses fill.rs: {\"Engine::fill\"}\n",
        ),
        (
            "none but for tests",
            &[
                ("a.rs", "use crate::b::B; struct A;"),
                ("b.rs", "struct B; #[cfg(test)] mod tests { use crate::a::A; }"),
            ],
            "",
        ),
        (
            "none in a row",
            &[("a.rs", "use crate::b::B;"), ("b.rs", "use crate::c::C; struct B;"), ("c.rs", "struct C;")],
            "",
        ),
    ] {
        assert_eq!(circle(what, files), expected, "{what}");
    }
}
