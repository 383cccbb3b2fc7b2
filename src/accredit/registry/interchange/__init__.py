"""What is registered of an agent in the forms of others, and what others say of one as a draft of a manifest.

Each module is one form, pure: facts in and a document out, or a document in and a draft out. Three things always hold.
Whoever owns an agent stands in no document: people are of one installation. A document says what it leaves out. And
what is read here grants nothing: it is a claim of whoever wrote it, bounded and escaped, in a file for an owner to
complete; `accredit apply` refuses that file until they have.
"""
