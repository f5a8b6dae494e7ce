"""What azd runs before and after provisioning, deploying and removing. Needs Python 3.11 and the Azure CLI."""
