"""The pages for people: rendered here, readable without scripts, each with a JSON twin at the same address.

A noun has its page functions in a file of its own (`projects`, `runs`, `artifacts`, `registries`), which turn reads of the
store into one frozen value. `pages` shows that value as HTML through the template of the noun, or as JSON; so neither can say
what the other does not know. Addresses are made in `links`, and are those that the SDK prints.
"""
