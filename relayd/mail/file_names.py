"""Names of attached files: SES refuses a whole mail for the extension of one."""

from relayd.mail.fields import Field, first
from relayd.mail.parameters import texts
from relayd.mail.structure import Part, scan
from relayd.mail.words import decode_words, visible

_PARAMETERS = ("name", "filename")
_PLACES = ("content-type", "content-disposition")
_SPELLINGS = (b"name", b"Name", b"NAME")

# https://docs.aws.amazon.com/ses/latest/dg/mime-types.html, in the order in which they stand there.
_EXTENSIONS = """
    ade adp app asp bas bat cer chm cmd com cpl crt csh der exe fxp gadget hlp hta inf ins isp its js jse ksh lib lnk
    mad maf mag mam maq mar mas mat mau mav maw mda mdb mde mdt mdw mdz msc msh msh1 msh2 mshxml msh1xml msh2xml msi
    msp mst ops pcd pif plg prf prg reg scf scr sct shb shs sys ps1 ps1xml ps2 ps2xml psc1 psc2 tmp url vb vbe vbs vps
    vsmacros vss vst vsw vxd ws wsc wsf wsh xnk
    """
_REFUSED = frozenset(_EXTENSIONS.split())


def named(field: Field | None, hint: str | None) -> dict[str, str]:
    """A field's parameters, file names in plain text and with an extension that SES takes."""
    values = texts(field, hint) if field is not None else {}
    for key in _PARAMETERS:
        if key in values:
            name = _plain(values[key])
            values[key] = f"{name}.bin" if _is_refused(name) else name
    return values


def has_refused_name(body: bytes, fields: tuple[Field, ...]) -> bool:
    """Whether SES would refuse a mail of this header and body for the name of a file."""
    if _has_refused(fields):
        return True
    # Looked for first, because few mails have any and a scan takes longer than that.
    if not any(spelling in body for spelling in _SPELLINGS):
        return False
    return any(isinstance(piece, Part) and _has_refused(piece.fields) for piece in scan(body, fields))


def _has_refused(fields: tuple[Field, ...]) -> bool:
    found = (first(fields, key) for key in _PLACES)
    named = (texts(field, None) for field in found if field is not None)
    return any(_is_refused(_plain(values[key])) for values in named for key in _PARAMETERS if key in values)


def _plain(name: str) -> str:
    return visible(decode_words(name))


def _is_refused(name: str) -> bool:
    _, dot, extension = name.rpartition(".")
    return dot == "." and extension.strip().lower() in _REFUSED
