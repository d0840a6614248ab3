//! Fields of requests and answers, from which their schemas are made.

use utoipa::openapi::schema::{AnyOfBuilder, ArrayBuilder, ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{Ref, RefOr, Schema};

/// A field of an object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Whether objects always have it.
    pub(super) is_required: bool,
    /// What it is; empty where the name says it.
    pub(super) text: &'static str,
}

/// The type of a field.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Text,
    Count,
    Number,
    Flag,
    /// An object of any fields.
    Map,
    List(&'static Kind),
    Named(&'static str),
    /// The type, or null.
    OrNull(&'static Kind),
    /// One of several types.
    OneOf(&'static [Kind]),
}

/// A field that objects always have.
pub(super) const fn always(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        kind,
        is_required: true,
        text: "",
    }
}

/// A field that objects may have.
pub(super) const fn maybe(name: &'static str, kind: Kind, text: &'static str) -> Field {
    Field {
        name,
        kind,
        is_required: false,
        text,
    }
}

/// The schema of an object of fields.
pub(super) fn object<'a>(fields: impl IntoIterator<Item = &'a Field>) -> Schema {
    let mut builder = ObjectBuilder::new();
    for field in fields {
        builder = builder.property(field.name, field.kind.schema(field.text));
        if field.is_required {
            builder = builder.required(field.name);
        }
    }
    builder.into()
}

impl Kind {
    fn schema(self, text: &'static str) -> RefOr<Schema> {
        let text = (!text.is_empty()).then_some(text);
        let of = |kind: SchemaType| {
            let builder = ObjectBuilder::new().schema_type(kind).description(text);
            RefOr::T(Schema::from(builder))
        };
        match self {
            Self::Text => of(Type::String.into()),
            Self::Count => of(Type::Integer.into()),
            Self::Number => of(Type::Number.into()),
            Self::Flag => of(Type::Boolean.into()),
            Self::Map => of(Type::Object.into()),
            Self::List(kind) => {
                let array = ArrayBuilder::new().items(kind.schema("")).description(text);
                RefOr::T(array.into())
            }
            Self::Named(name) => RefOr::Ref(Ref::from_schema_name(name)),
            Self::OrNull(kind) => {
                let null = ObjectBuilder::new().schema_type(Type::Null);
                let either = AnyOfBuilder::new().item(kind.schema("")).item(null);
                RefOr::T(either.description(text).into())
            }
            Self::OneOf(kinds) => {
                let mut any = AnyOfBuilder::new().description(text);
                for kind in kinds {
                    any = any.item(kind.schema(""));
                }
                RefOr::T(any.into())
            }
        }
    }
}
